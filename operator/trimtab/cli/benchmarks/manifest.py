"""A PerformanceProfile from measurements: of one replica, or it is refused."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.api.base import API_VERSION
from trimtab.api.performanceprofile import PerformanceProfile
from trimtab.catalog import accelerators, geometries
from trimtab.catalog.storagenames import weights_called
from trimtab.cli.benchmarks.measurement import Measurement, number
from trimtab.errors import InvalidInput

MOST_POINTS = 200
"""As many as the API admits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the user says the measurements are of; None leaves it to the files."""

    name: str | None = None
    model: str | None = None
    accelerator: str | None = None
    tensor_parallel: int | None = None
    quantization: str | None = None
    engine: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A manifest and what the user should know of it."""

    document: dict[str, Any]
    notes: tuple[str, ...]


def manifest(found: Sequence[Measurement], said: Identity, source: str) -> Import:
    """Return a PerformanceProfile of those of `found` that are of what was `said`.

    Raises:
        InvalidInput: They are of several replicas, of none, or nobody says of which.
    """
    notes: list[str] = []
    kept = list(found)
    values: dict[str, str | None] = {}
    for label, option in (
        ("model", said.model),
        ("accelerator", said.accelerator),
        ("tensor_parallel", None if said.tensor_parallel is None else str(said.tensor_parallel)),
        ("quantization", said.quantization),
        ("engine", said.engine),
    ):
        kept, values[label] = _narrowed(kept, label, option)
    model, accelerator = (_known(values[name], name) for name in ("model", "accelerator"))
    device = accelerators.get(accelerator)
    if values["tensor_parallel"] is None:
        notes.append("No file says on how many devices it ran: taken as one (--tensor-parallel)")
    if device is None:
        notes.append(f"The catalogue has no {accelerator}: name it as its AcceleratorPool does")
    saturated = [one.where for one in kept if one.saturated]
    if saturated:
        notes.append(f"Saturated: {', '.join(saturated)}: their TTFT grows with the run's length")
    quantization = weights_called(values["quantization"] or "none", model)
    spec = {
        "model": model,
        "accelerator": device.name if device else accelerator.lower(),
        "quantization": quantization,
        "tensorParallel": int(number({"tp": values["tensor_parallel"] or 1}, "tp", "files")),
        "engine": values["engine"],
        "source": source[:256],
        "points": _points(kept),
    }
    name = said.name or _slug(
        f"{model.split('/')[-1]}-{spec['accelerator']}-tp{spec['tensorParallel']}"
        + ("" if quantization == "none" else f"-{quantization}")
    )
    document = {
        "apiVersion": API_VERSION,
        "kind": PerformanceProfile.KIND,
        "metadata": {"name": name},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }
    return Import(document=document, notes=tuple(notes))


def _narrowed(
    found: list[Measurement], label: str, said: str | None
) -> tuple[list[Measurement], str | None]:
    """Return those of what was said, or all where they agree, and what they agree on."""
    option = f"--{label.replace('_', '-')}"
    known = {one.labels[label] for one in found if label in one.labels}
    if said is not None:
        kept = [
            one for one in found if label not in one.labels or _same(label, one.labels[label], said)
        ]
        if not kept:
            raise InvalidInput(
                option, f"{said} is not what was measured", f"Name one of {_listed(known)}"
            )
        return kept, said
    distinct = {_canonical(label, value): value for value in sorted(known)}
    if len(distinct) > 1:
        raise InvalidInput(option, f"the files have {_listed(known)}", "Say which one you mean")
    return found, next(iter(distinct.values()), None)


def _canonical(label: str, value: str) -> object:
    """What two spellings of one thing have in common."""
    if label == "model":
        return geometries.get(value) or value
    if label == "accelerator":
        return accelerators.get(value) or value
    if label == "tensor_parallel":
        return number({label: value}, label, "files")
    if label == "quantization":
        return weights_called(value, "")
    return value.split("/")[0] if label == "engine" else value


def _same(label: str, left: str, right: str) -> bool:
    return _canonical(label, left) == _canonical(label, right)


def _known(value: str | None, label: str) -> str:
    if value is None:
        raise InvalidInput(f"--{label}", "is in no file", "Name it")
    return value


def _listed(values: set[str]) -> str:
    return ", ".join(sorted(values)) or "nothing"


def _points(found: Sequence[Measurement]) -> list[dict[str, Any]]:
    points = {
        (round(m.input_tokens), round(m.output_tokens), m.percentile, m.rps, m.itl_s): {
            "inputTokens": max(round(m.input_tokens), 1),
            "outputTokens": max(round(m.output_tokens), 1),
            "requestsPerSecond": f"{m.rps:.6f}".rstrip("0").rstrip("."),
            "percentile": m.percentile,
            "timeToFirstToken": _duration(m.ttft_s),
            "interTokenLatency": _duration(m.itl_s),
        }
        for m in found
    }
    if len(points) > MOST_POINTS:
        raise InvalidInput(
            "files",
            f"hold {len(points)} points, a profile takes {MOST_POINTS}",
            "Give fewer of them, or tell --engine, --quantization or --tensor-parallel",
        )
    return [points[key] for key in sorted(points)]


def _duration(seconds: float) -> str:
    """Milliseconds to the microsecond, as the API admits them."""
    if seconds >= 60:
        return f"{seconds:.3f}s"
    return f"{seconds * 1e3:.3f}".rstrip("0").rstrip(".") + "ms"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")
