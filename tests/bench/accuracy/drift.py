"""Calibration against the simulated engine at another speed than the model says, and drifting.

Scored is the step time of the running load after twenty scrapes: believed over true. Run it as
`python -m bench.accuracy.drift` in tests/ to see all cases.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

from drifting import begun, off, page, taught
from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.signals import Missing, Signal
from trimtab.performance.capacity import CapacityRequest

SCRAPES, SCORED = 28, 20
"""Scrapes of a case, and those before it is scored."""
LOADS = (0.1, 0.5, 0.9, 1.2, 2.0)
"""Of the rate at which the replica saturates."""
REPLICAS = (
    ("Llama-3.1-8B", "h100", 1, "none"),
    ("Llama-3.1-8B", "l40s", 1, "none"),
    ("Qwen3-30B-A3B", "h100", 1, "none"),
    ("Llama-3.1-70B", "h100", 4, "fp8"),
)
SHAPES = {
    "chat": TokenShape(input_tokens=300, output_tokens=250),
    "passages": TokenShape(input_tokens=1200, output_tokens=200),
    "writing": TokenShape(input_tokens=200, output_tokens=800),
}
DRIFTS: dict[str, Callable[[float], float]] = {
    "as predicted": lambda at: 1.0,
    "45 % slower": lambda at: 1.45,
    "30 % faster": lambda at: 0.7,
    "swinging": lambda at: 1.2 + 0.1 * math.sin(at / 600.0),
}


@dataclass(frozen=True)
class Case:
    """One engine under one load, and the largest errors of what was believed of its steps."""

    name: str
    load: float
    full: bool
    """Whether its cache ever was."""
    error: float
    """After SCORED scrapes, as a logarithm."""
    harm: float
    """By how much it ever was worse than the estimate."""


def cases() -> list[Case]:
    """Return all of them."""
    return _cases(LOADS, {})


def uncounted() -> list[Case]:
    """Return those under overload as an engine shows them that counts no steps."""
    none = Missing(why="not counted")
    return _cases(LOADS[-2:], {"steps_per_s": none, "preempted_per_s": none})


def _cases(loads: tuple[float, ...], signals: dict[str, Signal]) -> list[Case]:
    return [
        _case(replica, shape, load, drift, signals)
        for replica in REPLICAS
        for shape in SHAPES
        for load in loads
        for drift in DRIFTS
    ]


def _case(
    replica: tuple[str, str, int, str],
    shape: str,
    load: float,
    drift: str,
    signals: dict[str, Signal],
) -> Case:
    model, device, tensor, dtype = replica
    geometry, accelerator = geometries.get(model), accelerators.get(device)
    assert geometry is not None
    assert accelerator is not None
    asked = CapacityRequest(
        geometry=geometry,
        accelerator=accelerator,
        parallelism=Parallelism(tensor=tensor),
        engine=EngineSettings(weight_dtype=dtype, max_model_len=16384, max_num_batched_tokens=4096),
        shape=SHAPES[shape],
        targets=LatencyTargets(),
    )
    shown, now = page(asked, load, DRIFTS[drift]), begun(asked)
    errors, harms, full = [0.0], [0.0], False
    for scrape in range(1, SCRAPES + 1):
        now = taught(now, shown, **signals)
        full = full or shown.counters.kv >= 0.95
        if scrape < 3 or shown.counters.finished == 0:
            continue  # no window is whole yet
        error = off(now.used, shown)
        harms.append(abs(error) - abs(off(None, shown)))
        if scrape > SCORED:
            errors.append(error)
    return Case(
        name=f"{model} {tensor}x{device} {shape}, {drift}",
        load=load,
        full=full,
        error=max(errors, key=abs),
        harm=max(harms),
    )


def main() -> None:
    """Print all cases."""
    for one in cases():
        sys.stdout.write(
            f"{one.name}, load {one.load:g}{', cache full' if one.full else ''}: "
            f"{one.error:+.1%} after {SCORED} scrapes, at worst {one.harm:+.1%} on the estimate\n"
        )


if __name__ == "__main__":
    main()
