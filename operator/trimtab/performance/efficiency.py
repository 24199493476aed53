"""How much of its data sheet a device delivers, and what an engine adds of its own.

One set of constants for each device family and each engine, fitted together on two thirds of the
measured deployments in tests/bench/data and on the step times of all models there but one, and
checked on the rest; docs/accuracy.md has both errors, tests/bench/accuracy/fit.py the method.
Families without measurements carry rounded middle values, and their accelerators a lower
confidence.
"""

from dataclasses import dataclass

from trimtab.errors import InvalidInput
from trimtab.models.hardware import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Shares of a peak, each in (0, 1], and latencies in seconds."""

    compute: float = 0.62
    """Of the dense 16-bit peak, in linear layers."""
    narrow_compute: float = 0.50
    """Of the 8-bit peak."""
    four_bit_compute: float = 0.39
    """Of the 4-bit peak."""
    expert: float = 0.45
    """What routed experts reach of the above: many small multiplications, sorting, padding."""
    narrow_expert: float = 0.40
    """The same at 8 bit."""
    four_bit_expert: float = 0.50
    """The same with 4-bit float weights, whatever they are multiplied in."""
    weight_read: float = 0.80
    """Of memory bandwidth, reading weights."""
    expert_read: float = 0.90
    """Of memory bandwidth, reading routed experts."""
    integer_expert_read: float = 0.80
    """Of `expert_read`, where 4-bit integers must be unpacked on the way."""
    kv_read: float = 0.80
    """Of memory bandwidth, reading keys and values."""
    attention: float = 0.55
    """Of the 16-bit peak, in prompt attention."""
    kernel_s: float = 5e-6
    """From one kernel's start to the next one's, beside its work."""
    reduce_s: float = 8e-6
    """One all-reduce of two devices, without the data."""
    sustained: float = 1.0
    """Of `compute`, `attention` and the expert shares, what remains in steady serving where the
    constants come from kernels timed alone: cards at their power limit slow down."""
    flops_per_watt: float | None = None
    """Of the device that was measured, at 16 bit: no sibling can reach more. None: not known."""
    bus: tuple[float, float, float] = (0.40, 0.45, 0.45)
    """Of the link, in all-reduces over 2, 4 and 8 devices."""


_PRIOR = Efficiency()

_FAMILIES = {
    "ampere": Efficiency(
        compute=0.84, expert=0.39, weight_read=0.75, expert_read=0.87, kv_read=0.75,
        attention=0.58, kernel_s=4.7e-6, reduce_s=6.6e-6, flops_per_watt=0.66e12,
        bus=(0.31, 0.43, 0.44),
    ),
    # GA102, another chip: as GA100, but for the power that an A10 serving phi-4-mini showed.
    "ampere-ga102": Efficiency(
        compute=0.84, expert=0.39, weight_read=0.75, expert_read=0.87, kv_read=0.75,
        attention=0.58, kernel_s=4.7e-6, reduce_s=6.6e-6, flops_per_watt=0.40e12,
    ),
    # MLPerf v4.1 offline, MI300X: 16 and 8 bit reach less of their peak than on NVIDIA's.
    "cdna3": Efficiency(compute=0.47, narrow_compute=0.34),
    "cdna4": Efficiency(compute=0.47, narrow_compute=0.34),
    "ada": Efficiency(
        compute=0.61, narrow_compute=0.46, expert=0.58, narrow_expert=0.46, four_bit_expert=0.67,
        weight_read=0.77, expert_read=0.92, kv_read=0.81, attention=0.52, kernel_s=2.4e-6,
        reduce_s=5.2e-6, flops_per_watt=0.63e12, bus=(0.49, 0.12, 0.065),
    ),
    "hopper": Efficiency(
        compute=0.81, narrow_compute=0.55, expert=0.43, narrow_expert=0.41, four_bit_expert=0.41,
        weight_read=0.92, expert_read=0.92, kv_read=0.92, attention=0.73, kernel_s=5.0e-6,
        reduce_s=4.8e-6, flops_per_watt=1.14e12, bus=(0.37, 0.53, 0.53),
    ),
    "blackwell": Efficiency(
        compute=0.70, narrow_compute=0.52, four_bit_compute=0.37, expert=0.46, narrow_expert=0.26,
        four_bit_expert=0.68, weight_read=0.79, expert_read=0.92, integer_expert_read=0.35,
        kv_read=0.92, attention=0.66,
        kernel_s=3.4e-6, reduce_s=6.5e-6, flops_per_watt=1.57e12, bus=(0.25, 0.30, 0.37),
    ),
    "blackwell-rtx": Efficiency(
        compute=0.81, narrow_compute=0.68, expert=0.46, narrow_expert=0.38, four_bit_expert=0.38,
        weight_read=0.84, expert_read=0.92, kv_read=0.84, attention=0.60, kernel_s=3.4e-6,
        reduce_s=8.4e-6, sustained=0.77, bus=(0.48, 0.38, 0.34),
    ),
    # One run of vLLM 0.19 on an RTX 4090. Its data sheet counts a clock that the card exceeds.
    "ada-rtx": Efficiency(
        compute=0.95, narrow_compute=0.70, expert=0.58, narrow_expert=0.46, four_bit_expert=0.67,
        weight_read=0.90, expert_read=0.92, kv_read=0.90, attention=0.60, kernel_s=2.4e-6,
        reduce_s=5.2e-6, bus=(0.49, 0.12, 0.065),
    ),
}  # fmt: skip

_PCIE_LINK = 64e9
"""Links up to this one-way bandwidth, in bytes/s, are PCIe 5 x16 or less."""
_PCIE_BUS = (0.49, 0.21, 0.14)
"""PCIe collapses as devices are added: between what L40S and RTX PRO 6000 reach."""
_PCIE_FAMILIES = frozenset({"ada", "ada-rtx", "blackwell-rtx"})
"""Families that were measured over PCIe themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Time that a serving engine spends beside the device. Seconds, unless said otherwise."""

    step_s: float
    """One step: scheduling and sampling that do not overlap with the device."""
    row_s: float
    """One sequence in a step."""
    request_s: float
    """One request: parsing, tokenising, the first answer."""
    first_token_steps: float
    """Steps between a first token and its arrival at the client. Public recipes of SGLang and
    TensorRT-LLM stream in groups of tokens, which shows here."""
    wave: float
    """Share of the time to work off everybody's prompt that a closed loop adds to the mean TTFT:
    its users start together, and answers of one length keep them together."""


NO_ENGINE = "none"
"""Kernels alone, as a benchmark of single operations times them."""

ENGINES = {
    "vllm": Engine(
        step_s=0.30e-3, row_s=5.0e-6, request_s=12e-3, first_token_steps=4.0, wave=0.058
    ),
    "sglang": Engine(
        step_s=0.63e-3, row_s=16e-6, request_s=84e-3, first_token_steps=15.0, wave=0.23
    ),
    "trtllm": Engine(
        step_s=0.15e-3, row_s=6.4e-6, request_s=31e-3, first_token_steps=11.0, wave=0.031
    ),
    NO_ENGINE: Engine(step_s=0.0, row_s=0.0, request_s=0.0, first_token_steps=0.0, wave=0.0),
}
"""By EngineSettings.name."""


def engine_named(name: str) -> Engine:
    """Return the constants of the engine called `name`.

    Raises:
        InvalidInput: No engine of that name is known.
    """
    if name not in ENGINES:
        known = ", ".join(ENGINES)
        raise InvalidInput("engine", f"{name!r} is unknown", f"Use one of {known}")
    return ENGINES[name]


def efficiency_of(accelerator: Accelerator) -> Efficiency:
    """Return the constants of the family of `accelerator`."""
    return _FAMILIES.get(accelerator.family, _PRIOR)


def power_share(accelerator: Accelerator) -> float:
    """Return the share of its family's speed in computing that a device's power allows, up to 1.

    Cards of 70 to 400 W carry the units of devices that draw twice as much, and slow down.
    """
    share = efficiency_of(accelerator)
    if accelerator.watts is None or share.flops_per_watt is None:
        return 1.0
    reached = share.compute * accelerator.bf16_flops
    return min(1.0, accelerator.watts * share.flops_per_watt / reached)


def bus_efficiency(accelerator: Accelerator, tensor: int) -> float:
    """Return the share of the link that an all-reduce over `tensor` devices delivers."""
    slow = accelerator.link_bandwidth <= _PCIE_LINK
    measured = not slow or accelerator.family in _PCIE_FAMILIES
    shares = efficiency_of(accelerator).bus if measured else _PCIE_BUS
    if tensor <= 2:
        return shares[0]
    return shares[1] if tensor <= 4 else shares[2]
