"""What an unknown device carries lies in the middle of those that were measured."""

from dataclasses import replace

import pytest

from trimtab.catalog import accelerators
from trimtab.models.hardware import Accelerator
from trimtab.performance.efficiency import efficiency_of, middle, unknown

HBM = ("nvidia-a100-80gb-sxm", "nvidia-h100-sxm", "nvidia-b200-sxm")
CARDS = ("nvidia-l40s", "nvidia-rtx-pro-6000", "intel-arc-pro-b60")
SHARED = ("compute", "expert", "weight_read", "expert_read", "kv_read", "attention", "kernel_s")


def _device(name: str) -> Accelerator:
    found = accelerators.get(name)
    assert found is not None
    return found


def _unheard_of() -> Accelerator:
    return replace(_device("nvidia-h100-sxm"), family="nobody-measured-it")


@pytest.mark.parametrize("constant", SHARED)
def test_half_of_the_measured_families_are_above_an_unknown_device(constant: str) -> None:
    here = getattr(efficiency_of(_unheard_of()), constant)
    there = [getattr(efficiency_of(_device(name)), constant) for name in (*HBM, *CARDS)]
    assert sum(value > here for value in there) == sum(value < here for value in there)


@pytest.mark.parametrize("constant", SHARED)
def test_a_family_left_out_pulls_the_middle_nowhere(constant: str) -> None:
    own = {n: getattr(efficiency_of(_device(n)), constant) for n in (*HBM, *CARDS)}
    for name in own:
        left_out = getattr(middle(without=_device(name).family), constant)
        others = [value for other, value in own.items() if other != name]
        assert sum(value > left_out for value in others) <= len(others) // 2
        assert sum(value < left_out for value in others) <= len(others) // 2


def test_an_unknown_device_is_taken_to_slow_down_at_its_power_limit() -> None:
    hopper = efficiency_of(_device("nvidia-h100-sxm")).power_limited
    card = efficiency_of(_device("nvidia-rtx-pro-6000")).sustained
    limited = unknown().power_limited
    assert hopper is not None
    assert limited is not None
    assert hopper < limited < card
    assert efficiency_of(_unheard_of()).power_limited == limited
    assert unknown(without="hopper").power_limited == card


def test_exchanges_over_pcie_are_those_of_cards() -> None:
    unheard = efficiency_of(_unheard_of())
    for index in range(3):
        over_pcie = [efficiency_of(_device(name)).pcie_bus[index] for name in CARDS]
        assert min(over_pcie) < unheard.pcie_bus[index] < max(over_pcie)
        linked = [efficiency_of(_device(name)).bus[index] for name in HBM]
        assert min(linked) < unheard.bus[index] < max(linked)
