"""What replicas carry behind a router that tells classes apart."""

import math
import random

import pytest

from sizedfleets import carried, kind
from trimtab.planner.split import mixed, split_of


def test_each_class_goes_where_it_is_served_best() -> None:
    # Melange's README: 1 A10G and 1 A100 carry the 30 requests/s that neither mix of two does.
    shares = (0.2, 0.1, 0.5, 0.2)
    a10g, a100 = (2.0, 1.0, 5.0, 2.0, 0.0), (20.0, 20.0, 40.0, 20.0, 0.0)
    split = split_of(shares, ((a10g, 1), (a100, 1)))
    assert split.rps >= 30.0
    alone = mixed(shares, a10g[:-1]) + mixed(shares, a100[:-1])
    assert alone < 30.0
    assert all(math.fsum(part) == pytest.approx(1.0) for part in split.parts)


@pytest.mark.parametrize("seed", range(200))
def test_two_classes_are_split_as_by_hand(seed: int) -> None:
    dice = random.Random(seed)
    share = dice.uniform(0.05, 0.95)
    kinds = tuple((kind(dice), dice.randint(1, 4)) for _ in range(dice.randint(1, 4)))
    split = split_of((share, 1.0 - share), kinds)
    assert split.rps == pytest.approx(carried(share, kinds), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("seed", range(100))
def test_the_parts_are_what_the_replicas_can_take(seed: int) -> None:
    dice = random.Random(seed)
    weights = [dice.uniform(0.1, 1.0) for _ in range(3)]
    shares = tuple(weight / math.fsum(weights) for weight in weights)
    kinds = tuple(
        ((*(dice.choice([0.0, dice.uniform(0.5, 9.0)]) for _ in range(3)), 0.0), 2)
        for _ in range(4)
    )
    split = split_of(shares, kinds)
    for k, (rates, count) in enumerate(kinds):
        load = 0.0
        for c, share in enumerate(shares):
            sent = split.rps * share * split.parts[c][k]
            assert sent == 0.0 or rates[c] > 0
            load += sent / rates[c] if sent else 0.0
        assert load <= count * (1.0 + 1e-6)


@pytest.mark.parametrize("seed", range(100))
def test_no_fleet_carries_less_than_its_replicas_with_the_mix_alone(seed: int) -> None:
    dice = random.Random(seed)
    kinds = tuple(
        ((dice.uniform(1, 9), dice.uniform(1, 9), dice.uniform(0, 9)), dice.randint(1, 3))
        for _ in range(3)
    )
    split = split_of((0.3, 0.7), kinds)
    alone = math.fsum(max(rates[2], mixed((0.3, 0.7), rates[:2])) * n for rates, n in kinds)
    assert split.rps >= alone * (1.0 - 1e-9)


def test_what_serves_a_class_only_in_the_mix_serves_it() -> None:
    assert split_of((0.5, 0.5), (((4.0, 0.0, 3.0), 2),)).rps == pytest.approx(6.0)
    both = split_of((0.5, 0.5), (((4.0, 0.0, 3.0), 1), ((4.0, 0.0, 0.0), 1)))
    # Half of the small requests of the first are taken over, which it has no use for.
    assert both.rps == pytest.approx(3.0)


def test_a_class_that_nothing_serves_is_carried_nowhere() -> None:
    split = split_of((0.5, 0.5), (((4.0, 0.0, 0.0), 2), ((9.0, 0.0, 0.0), 1)))
    assert split.rps == 0.0
    assert all(part == 0.0 for parts in split.parts for part in parts)
