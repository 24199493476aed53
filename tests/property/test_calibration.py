"""Whatever is measured, a belief stays finite and as sure as can be; doubt does not move it."""

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.load import LatencyTargets, TokenShape, VariantReading
from trimtab.models.memory import Calibration
from trimtab.models.performance import StepScales
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Signal, Stale
from trimtab.performance.belief import FARTHEST, Measurement, covariance_of, fitted, mean_of, prior
from trimtab.performance.calibration import learn
from trimtab.performance.capacity import CapacityRequest
from trimtab.performance.window import Moment

SIGNALS = {
    "itl_s": 0.02,
    "gaps_per_s": 500.0,
    "ttft_s": 0.4,
    "first_tokens_per_s": 2.5,
    "steps_per_s": 50.0,
    "preempted_per_s": 0.2,
    "input_tokens": 1000.0,
    "output_tokens": 200.0,
    "prefix_hit": 0.1,
    "waiting": 0.0,
    "running": 10.0,
    "kv_utilization": 0.3,
}
OPTIONAL = {"ttft_s", "prefix_hit", "running", "steps_per_s", "preempted_per_s"}
"""Without them a window says less; without any of the others it says nothing."""

_DOUBTS = st.one_of(
    st.just(Missing(why="gone")),
    st.just(Invalid(why="NaN")),
    st.builds(lambda value: Stale(value=value, age_s=90.0), st.floats(0.0, 1e3)),
    st.builds(lambda value: Partial(value=value, reporting=1, expected=2), st.floats(0.0, 1e3)),
)
_VALUES = st.one_of(
    st.floats(0.0, 1e8),
    st.floats(),
    st.sampled_from([0.0, 5e-324, 1e-12, 1e-5, 0.95, 1.0, 1e5, 1e8, 1e308]),
)


def request(device: str = "h100") -> CapacityRequest:
    geometry, accelerator = geometries.get("Llama-3.1-8B"), accelerators.get(device)
    assert geometry is not None
    assert accelerator is not None
    return CapacityRequest(
        geometry=geometry,
        accelerator=accelerator,
        parallelism=Parallelism(),
        engine=EngineSettings(),
        shape=TokenShape(input_tokens=1000.0, output_tokens=200.0),
        targets=LatencyTargets(ttft_s=1.0),
    )


REQUEST = request()


def reading(**over: Signal) -> VariantReading:
    signals: dict[str, Any] = {name: Fresh(value=value) for name, value in SIGNALS.items()}
    return VariantReading(
        pool="h100", parallelism=Parallelism(), revision="chat-1-", **(signals | over)
    )


def begun() -> Calibration:
    return Calibration(
        namespace="assistants",
        name="chat",
        pool="h100",
        parallelism=Parallelism(),
        accelerator="nvidia-h100-sxm",
        model="Llama-3.1-8B",
        engine=EngineSettings(),
        revision="chat-1-",
        scales=prior(),
        updated=0.0,
    )


def at(now: float, ready_s: float = 1e6) -> Moment:
    return Moment(now=now, window_s=60.0, ready_s=ready_s)


def check(scales: StepScales) -> None:
    mean, covariance = mean_of(scales), covariance_of(scales)
    assert np.isfinite(mean).all()
    assert (np.abs(mean) <= FARTHEST).all()
    assert np.isfinite(covariance).all()
    least = np.linalg.eigvalsh(covariance)
    assert least.min() > 0.0
    # Nothing that was seen makes it less sure than nothing does.
    assert np.linalg.eigvalsh(covariance_of(prior()) - covariance).min() > -1e-9


READINGS = st.fixed_dictionaries(
    {}, optional={name: _VALUES.map(lambda value: Fresh(value=value)) for name in SIGNALS}
)


@given(
    st.lists(
        st.tuples(READINGS, st.sampled_from([-60.0, 0.0, 0.5, 15.0, 60.0, 3600.0, 1e7])),
        max_size=12,
    )
)
def test_no_sequence_of_readings_breaks_it(steps: list[tuple[dict[str, Signal], float]]) -> None:
    now, belief = 1e6, replace(begun(), updated=1e6)
    for signals, seconds in steps:
        now += seconds
        belief = learn(belief, reading(**signals), REQUEST, at(now))
        check(belief.scales)
        assert math.isfinite(belief.evidence_s)
        assert belief.evidence_s >= 0.0
        assert belief.refused_s >= 0.0
        if belief.used is not None:
            check(belief.used)


@given(st.sampled_from(sorted(SIGNALS.keys() - OPTIONAL)), _DOUBTS, st.floats(0.5, 1e5))
def test_doubt_about_what_is_needed_never_moves_it(name: str, doubt: Signal, gone: float) -> None:
    before = begun()
    assert learn(before, reading(), REQUEST, at(gone)) != before
    assert learn(before, reading(**{name: doubt}), REQUEST, at(gone)) == before


@given(st.sampled_from(["running", "steps_per_s", "preempted_per_s"]), _DOUBTS)
def test_doubt_about_the_batch_leaves_what_a_full_cache_shows_without_it(
    name: str, doubt: Signal
) -> None:
    none = Missing(why="none")
    full: dict[str, Signal] = {"kv_utilization": Fresh(value=0.99), "waiting": Fresh(value=5.0)}
    full["steps_per_s"] = none  # they would say all that the batch does
    without = learn(begun(), reading(**full | {name: none}), REQUEST, at(60.0))
    assert learn(begun(), reading(**full | {name: doubt}), REQUEST, at(60.0)) == without


@given(st.sampled_from(["ttft_s", "prefix_hit"]), _DOUBTS)
def test_doubt_about_the_rest_only_takes_what_prompts_would_have_taught(
    name: str, doubt: Signal
) -> None:
    without = learn(begun(), reading(ttft_s=Missing(why="none")), REQUEST, at(60.0))
    if name == "ttft_s":
        assert learn(begun(), reading(ttft_s=doubt), REQUEST, at(60.0)) == without
    else:
        check(learn(begun(), reading(prefix_hit=doubt), REQUEST, at(60.0)).scales)


@given(st.floats(0.0, 89.0))
def test_young_replicas_never_move_it(ready_s: float) -> None:
    assert learn(begun(), reading(), REQUEST, at(60.0, ready_s)) == begun()


@given(st.lists(st.floats(1e-5, 1e3), min_size=1, max_size=6))
def test_no_few_measurements_break_it(measured: list[float]) -> None:
    def predict(scales: StepScales) -> float:
        return 0.01 * math.exp(0.5 * scales.read + 0.2 * scales.compute + 0.3 * scales.host)

    check(fitted([Measurement(predict=predict, measured=one) for one in measured]))


def test_every_signal_of_a_reading_is_tried() -> None:
    named = {one.name for one in fields(VariantReading)}
    assert named - {"pool", "parallelism", "revision"} == SIGNALS.keys()
