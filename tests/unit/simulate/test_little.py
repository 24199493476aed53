"""How fast replicas are, by what is in flight."""

from itertools import pairwise

import numpy as np
import pytest

from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import Infeasible
from trimtab.models.signals import fresh_value
from trimtab.models.snapshot import Key
from trimtab.performance.capacity import CapacityRequest, replica_of
from trimtab.performance.meanfield import Replica
from trimtab.performance.outlook import open_loop, saturation_rate
from trimtab.simulate.little import ANSWERS_SHARE, Served, Span, lesson_of, served_in
from trimtab.simulate.policy import Variant

VARIANT = Variant(deployment=Key(namespace="a", name="b"), pool="l40s", parallelism=Parallelism())
LENGTHS = 1000.0, 200.0


@pytest.fixture(scope="module")
def replica() -> Replica:
    geometry, accelerator = geometries.get("Llama-3.1-8B"), accelerators.get("l40s")
    assert geometry is not None
    assert accelerator is not None
    found = replica_of(
        CapacityRequest(
            geometry=geometry,
            accelerator=accelerator,
            parallelism=Parallelism(),
            engine=EngineSettings(),
            shape=TokenShape(input_tokens=LENGTHS[0], output_tokens=LENGTHS[1]),
            targets=LatencyTargets(),
        )
    )
    assert not isinstance(found, Infeasible)
    return found


def span(begin: float, arrivals: int, before: int, after: int, replicas: int = 2) -> Span:
    return Span(
        begin=begin,
        end=begin + 15.0,
        arrivals=arrivals,
        before=before,
        after=after,
        variant=VARIANT,
        replicas=replicas,
    )


def test_who_leaves_is_who_came_and_is_not_there() -> None:
    # 40 requests come in 15 s; from 20 in flight they pile up to 40, by 2 in each span.
    served = served_in([span(15.0 * i, 40, 20 + 2 * i, 22 + 2 * i) for i in range(10)])
    assert served is not None
    assert served.held == pytest.approx(30.0 / 2)
    assert served.left_rps == pytest.approx(38 / 15.0 / 2)


def test_rates_are_of_one_replica_however_their_number_changes() -> None:
    served = served_in(
        [span(15.0 * i, 20 * n, 10 * n, 10 * n, n) for i, n in enumerate([1] * 6 + [3] * 6)]
    )
    assert served is not None
    assert served.held == pytest.approx(10.0)
    assert served.left_rps == pytest.approx(20 / 15.0)


@pytest.mark.parametrize(
    "spans",
    [
        [],
        [span(15.0 * i, 40, 20, 20) for i in range(7)],
        [span(15.0 * i, 4, 20, 20) for i in range(20)],
        [span(15.0 * i, 40, n, n) for i, n in enumerate([5, 200] * 10)],
        [span(15.0 * i, 800, 20, 20) for i in range(20)],
        [span(15.0 * i, 40, 0, 0) for i in range(20)],
    ],
    ids=["nothing", "too short", "too few", "bursts", "short requests", "nobody"],
)
def test_too_little_or_too_uneven_says_nothing(spans: list[Span]) -> None:
    assert served_in(spans) is None


def test_what_chance_makes_of_a_small_crowd_is_no_burst() -> None:
    crowd = np.random.default_rng(1).poisson(6.0, 41)
    spans = [span(15.0 * i, 30, int(a), int(b)) for i, (a, b) in enumerate(pairwise(crowd))]
    assert served_in(spans) is not None


@pytest.mark.parametrize("busy", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("slow", [0.7, 1.0, 1.4])
def test_an_engine_as_slow_as_that_would_say_the_same(
    replica: Replica, busy: float, slow: float
) -> None:
    at = open_loop(replica, np.array([busy]) * saturation_rate(replica), 0.5)
    held, rps = float(at.concurrency[0]), float(at.rate[0])
    served = Served(held=held, left_rps=rps / slow)
    lesson = lesson_of(VARIANT, served, LENGTHS, replica, guess=None)
    assert lesson is not None
    assert lesson.output_tokens == LENGTHS[1]
    reading = lesson.reading
    assert reading is not None
    assert fresh_value(reading.itl_s) == pytest.approx(slow * float(at.tpot_mean_s[0]), rel=0.03)
    assert fresh_value(reading.first_tokens_per_s) == rps / slow
    assert fresh_value(reading.kv_utilization) == pytest.approx(
        float(at.kv_utilization[0]), rel=0.03
    )


def test_a_crowd_that_no_replica_serves_at_once_says_nothing(replica: Replica) -> None:
    crowd = Served(held=5000.0, left_rps=1.0)
    assert lesson_of(VARIANT, crowd, LENGTHS, replica, guess=None) is None


def test_answers_of_one_token_have_no_gaps(replica: Replica) -> None:
    served = Served(held=2.0, left_rps=1.0)
    assert lesson_of(VARIANT, served, (LENGTHS[0], 1.0), replica, guess=None) is None


def _guessed(replica: Replica, slow: float, believed: float = LENGTHS[1]) -> tuple[float, float]:
    """Return answers and times of a token, by what they should be, with a guess of 200 tokens."""
    at = open_loop(replica, np.array([0.5]) * saturation_rate(replica), 0.5)
    served = Served(held=float(at.concurrency[0]), left_rps=float(at.rate[0]) / slow)
    lengths = LENGTHS[0], believed
    lesson = lesson_of(VARIANT, served, lengths, replica, guess=LENGTHS[1])
    assert lesson is not None
    gap_s = None if lesson.reading is None else fresh_value(lesson.reading.itl_s)
    slower = 1.0 if gap_s is None else gap_s / float(at.tpot_mean_s[0])
    return (lesson.output_tokens - 1.0) / (LENGTHS[1] - 1.0), slower


@pytest.mark.parametrize("believed", [200.0, 240.0])
def test_where_lengths_are_a_guess_a_long_time_is_of_long_answers_and_of_slow_steps(
    replica: Replica, believed: float
) -> None:
    longer, slower = _guessed(replica, 1.4, believed)
    assert longer * slower == pytest.approx(1.4, rel=0.03)
    assert longer == pytest.approx(1.4**ANSWERS_SHARE, rel=0.03)


def test_where_lengths_are_a_guess_a_short_time_says_nothing(replica: Replica) -> None:
    assert _guessed(replica, 0.7) == (1.0, 1.0)
