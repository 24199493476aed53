"""For how long what was asked holds replicas: as short as nothing comes back after it."""

from random import Random

import pytest

from trimtab.planner.recall import LEAPING, MINUTES, Past, recalls

WINDOW_S = 300.0


def kept_s(rates: list[float], ahead_s: float = 60.0, window_s: float = WINDOW_S) -> float:
    """For how many seconds what was asked of one deployment is kept."""
    return recalls([Past(rates=tuple(rates), ahead_s=ahead_s, window_s=window_s)])[0]


def lulls(minutes: int, count: int = 60) -> list[float]:
    """A lull again and again, every six minutes."""
    return [5.0 if i % 6 < minutes else 50.0 for i in range(count)]


def leaps(minutes: int, count: int = 60) -> list[float]:
    """A burst of one minute, again and again."""
    return [50.0 if i % minutes == 0 else 5.0 for i in range(count)]


@pytest.mark.parametrize("minutes", [1, 2, 3, 4])
def test_a_lull_is_seen_through(minutes: int) -> None:
    assert kept_s(lulls(minutes)) == 60.0 * (minutes + 1)


def test_what_the_whole_window_is_needed_for_keeps_all_of_it() -> None:
    assert kept_s(lulls(4), window_s=330.0) == 330.0
    assert kept_s(lulls(3), window_s=330.0) == 240.0


def test_nothing_comes_back_where_nothing_comes() -> None:
    assert kept_s([0.0] * 60) == 60.0
    assert kept_s([0.0] * 60, window_s=120.0) == 60.0


@pytest.mark.parametrize("horizon_s", [60.0, 150.0, 600.0])
def test_what_comes_back_before_a_replica_would_serve_counts(horizon_s: float) -> None:
    """A lull of four minutes is seen through, however soon a replica comes."""
    assert kept_s(lulls(4), horizon_s) == WINDOW_S


@pytest.mark.parametrize("minutes", [2, 3, 4])
@pytest.mark.parametrize("count", [15, 24, 60])
def test_what_leaps_back_within_a_minute_is_kept_for_longer_than_the_window(
    minutes: int, count: int
) -> None:
    assert kept_s(leaps(minutes, count)) == LEAPING * WINDOW_S
    assert kept_s(leaps(minutes, count), window_s=240.0) == LEAPING * 240.0
    assert kept_s(leaps(minutes, 14)) == WINDOW_S


def test_one_leap_in_five_minutes_is_enough() -> None:
    """Of 40 minutes: eight after which it leapt back are, seven are not."""
    rates = [50.0] * 45
    for lull in range(6, 34, 4):
        rates[lull] = 5.0
    assert kept_s(rates) < WINDOW_S
    rates[40] = 5.0
    assert kept_s(rates) == LEAPING * WINDOW_S


def test_what_no_window_would_have_kept_is_no_reason_for_a_long_one() -> None:
    assert kept_s(leaps(20)) == 60.0


def test_a_climb_comes_back_to_nothing() -> None:
    assert kept_s([1.2**i for i in range(40)]) == 60.0


def test_a_fall_is_followed_after_a_minute() -> None:
    assert kept_s([100.0 - i for i in range(60)]) == 60.0


@pytest.mark.parametrize("rps", [0.2, 2.0, 20.0])
def test_chance_comes_back_and_is_no_reason(rps: float) -> None:
    random = Random(7)
    chances = [[random.random() < rps / 100.0 for _ in range(6000)] for _ in range(60)]
    assert kept_s([sum(minute) / 60.0 for minute in chances]) == 60.0


def test_one_minute_in_twenty_may_be_wrong() -> None:
    """Of 40 minutes: two after which it came back may be, three may not."""
    calm = [5.0] * 45
    twice = calm.copy()
    for burst in (10, 20):
        twice[burst], twice[burst + 2] = 50.0, 50.0
    assert kept_s(twice) == 60.0
    thrice = twice.copy()
    thrice[30], thrice[32] = 50.0, 50.0
    assert kept_s(thrice) == 120.0


def test_a_rise_that_the_headroom_meets_has_not_come_back() -> None:
    assert kept_s([1000.0 if i % 6 else 930.0 for i in range(60)]) == 60.0
    assert kept_s([1000.0 if i % 6 else 600.0 for i in range(60)]) == 120.0


@pytest.mark.parametrize(("horizon_s", "ahead"), [(30.0, 1), (60.0, 1), (61.0, 2), (540.0, 9)])
def test_nothing_is_known_before_enough_minutes_showed_what_came(
    horizon_s: float, ahead: int
) -> None:
    enough = MINUTES + 5 + ahead - 1
    assert kept_s([10.0] * enough, horizon_s) == 60.0
    assert kept_s([10.0] * (enough - 1), horizon_s) == WINDOW_S
    assert kept_s([], horizon_s) == WINDOW_S


@pytest.mark.parametrize("window_s", [0.0, 30.0, 60.0, 119.0])
def test_a_short_window_stays_as_it_is(window_s: float) -> None:
    assert kept_s([10.0] * 60, window_s=window_s) == window_s


def test_many_at_once_get_what_each_gets_alone() -> None:
    random = Random(3)
    pasts = [
        Past(
            rates=tuple(
                random.choice((5.0, 20.0, 80.0)) if random.random() < share else 5.0
                for _ in range(random.choice((24, 40, 60)))
            ),
            ahead_s=random.choice((45.0, 150.0, 400.0)),
            window_s=random.choice((60.0, 300.0, 330.0, 600.0)),
        )
        for share in (0.0, 0.02, 0.1, 0.4)
        for _ in range(25)
    ]
    together = recalls(pasts)
    assert together == [recalls([past])[0] for past in pasts]
    assert len(set(together)) > 5
