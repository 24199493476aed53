"""What measurements do to what is believed of step times."""

import math
from dataclasses import fields, replace

import pytest

from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.performance import StepScales
from trimtab.performance.belief import (
    Measurement,
    covariance_of,
    fitted,
    mean_of,
    moved,
    prior,
    spread,
    stretched,
)
from trimtab.performance.steptime import StepModel, step_model


def step() -> StepModel:
    geometry, accelerator = geometries.get("Qwen3-30B-A3B"), accelerators.get("h100")
    assert geometry is not None
    assert accelerator is not None
    return step_model(geometry, accelerator, Parallelism(tensor=2), EngineSettings())


def decode_s(scales: StepScales, batch: float) -> float:
    return float(stretched(step(), scales).decode_s(batch, batch * 1000.0))


def at_batch(batch: float, truth: StepScales, odd: float = 1.0) -> Measurement:
    return Measurement(
        predict=lambda scales: decode_s(scales, batch), measured=decode_s(truth, batch) * odd
    )


def truth(read: float, compute: float, host: float) -> StepScales:
    return replace(prior(), read=read, compute=compute, host=host)


def test_every_time_is_stretched_by_one_factor() -> None:
    plain = step()
    changed = {
        name: {
            field.name
            for field in fields(plain)
            if getattr(stretched(plain, replace(prior(), **{name: 0.5})), field.name)  # type: ignore[arg-type]
            != getattr(plain, field.name)
        }
        for name in ("read", "compute", "host")
    }
    times = {f.name for f in fields(plain) if f.name.endswith("_s") and getattr(plain, f.name)}
    assert sum(len(names) for names in changed.values()) == len(times)
    assert set.union(*changed.values()) == times
    assert all(changed.values())


@pytest.mark.parametrize("log", [-0.3, 0.0, 0.3])
def test_a_few_batches_show_a_common_factor(log: float) -> None:
    real = truth(log, log, log)
    found = fitted([at_batch(batch, real) for batch in (1.0, 16.0, 128.0)])
    for batch in (4.0, 64.0, 256.0):
        assert decode_s(found, batch) == pytest.approx(decode_s(real, batch), rel=0.02)


def test_one_odd_measurement_of_five_pulls_little() -> None:
    real = truth(0.1, 0.1, 0.1)
    batches = (1.0, 8.0, 32.0, 96.0)
    calm = fitted([at_batch(batch, real) for batch in batches])
    wild = fitted([*(at_batch(batch, real) for batch in batches), at_batch(16.0, real, odd=2.0)])
    for batch in batches:
        assert decode_s(wild, batch) == pytest.approx(decode_s(calm, batch), rel=0.03)


def test_what_overheads_cost_is_told_from_what_reading_costs() -> None:
    real = truth(0.0, 0.0, 0.4)
    found = fitted([at_batch(batch, real) for batch in (1.0, 4.0, 64.0, 256.0)])
    assert found.host > found.read + 0.2


def test_a_measurement_moves_the_mean_towards_it_and_leaves_less_doubt() -> None:
    slope = 0.6, 0.1, 0.3
    before = prior()
    after = moved(before, 0.2, slope, 0.03**2)
    assert 0.15 < float(mean_of(after) @ slope) < 0.2
    assert spread(after, slope) < 0.03 < spread(before, slope)
    assert covariance_of(after)[1, 1] < covariance_of(before)[1, 1]
    weak = moved(before, 0.2, slope, 1.0)
    assert 0.0 < float(mean_of(weak) @ slope) < 0.02
    assert math.isclose(spread(weak, slope), spread(before, slope), rel_tol=0.05)
