"""A scenario out of a user's manifests and request log, so that nobody must write a file first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimtab.api.llmdeployment import LLMDeployment
from trimtab.cli.manifests import read
from trimtab.errors import InvalidInput
from trimtab.models.snapshot import Key
from trimtab.simulate.inputs.files import log_in
from trimtab.simulate.inputs.spec import Columns, NamedTrace, Source
from trimtab.simulate.inputs.traces import named
from trimtab.simulate.scenario import Scenario, TrafficEntry

_LONGEST_S = 4 * 3600.0
"""A longer log is simulated up to here where no duration is given."""
_WARMUP_SHARE = 0.1
_WARMUP_S = 300.0


def columns_of(given: Sequence[str]) -> Columns:
    """Return the names of columns in `ROLE=NAME` texts.

    Raises:
        InvalidInput: A text is none, or its role is unknown.
    """
    names: dict[str, Any] = {}
    for text in given:
        role, equals, name = text.partition("=")
        if not equals or role not in Columns.model_fields:
            raise InvalidInput(
                "--column",
                f"{text!r} names no column",
                f"Write ROLE=NAME with one of {', '.join(Columns.model_fields)}",
            )
        names[role] = name
    if names.get("unit") not in (None, "s", "ms"):
        raise InvalidInput("--column", f"no unit {names['unit']}", "Write unit=s or unit=ms")
    return Columns.model_validate(names)


def scenario_from(
    files: Sequence[str], trace: str, columns: Columns, duration_s: float | None
) -> tuple[Scenario, tuple[str, ...]]:
    """Return a scenario of manifests and one log, and notes on how they were read.

    Each deployment gets the rows of its model; one alone gets all of a log of one model, whatever
    that is called there.

    Raises:
        InvalidInput: Something is missing, or cannot be read.
    """
    manifests, notes = read(files)
    if not manifests.deployments:
        raise InvalidInput("--file", "no LLMDeployment is in it", "Add one to the manifests")
    if not manifests.pools:
        raise InvalidInput("--file", "no AcceleratorPool is in it", "Add where replicas can land")
    entries, span, told = [], 0.0, list(notes)
    alone = len(manifests.deployments) == 1
    # Absolute, because a scenario's paths start where its file is, and here is none.
    log = None if trace in set(NamedTrace) else log_in(Path(trace).absolute(), columns)
    for deployment in manifests.deployments:
        metadata = deployment.metadata
        key = Key(namespace=metadata.namespace or "default", name=metadata.name)
        if log is None:
            if not alone:
                raise InvalidInput(
                    "--trace",
                    f"{trace} names no models, and there are several deployments",
                    "Write a scenario that gives each its traffic",
                )
            source = Source(trace=NamedTrace(trace), repeat=False)
            requests, note = named(NamedTrace(trace)), f"{trace}: a trace that comes with Trimtab"
        else:
            every = alone and len(log.models) < 2
            model = None if every else _model(deployment)
            requests, note = log.requests(model)
            source = Source(file=str(log.path), columns=columns, model=model, repeat=False)
        entries.append(TrafficEntry(deployment=key, source=source))
        span = max(span, requests.span_s)
        told.append(note)
    duration = min(span, _LONGEST_S) if duration_s is None else duration_s
    if duration_s is None and span > _LONGEST_S:
        told.append(
            f"The log is {span / 3600:.1f} h long; "
            f"its first {_LONGEST_S / 3600:g} h are simulated. "
            "Say --duration for more"
        )
    if duration <= 0:
        raise InvalidInput(
            "--trace",
            "all of its requests come at one moment, which does not tell how long it lasts",
            "Say --duration, or give a longer log",
        )
    scenario = Scenario.model_validate(
        {
            "name": "own-traffic",
            "about": f"{Path(trace).name} on {', '.join(files)}",
            "duration": _text(duration),
            "warmup": _text(min(_WARMUP_S, _WARMUP_SHARE * duration)),
            "manifests": manifests,
            "traffic": entries,
        }
    )
    return scenario, tuple(told)


def _text(seconds: float) -> str:
    """Return the duration as a scenario file has it, to the millisecond."""
    hours, rest = divmod(seconds, 3600.0)
    return f"{hours:.0f}h{rest:.3f}s"


def _model(deployment: LLMDeployment) -> str:
    model = deployment.spec.model
    return model.served_name or model.name
