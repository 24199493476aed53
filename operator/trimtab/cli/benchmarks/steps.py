"""Tables of how long one engine step takes, by batch and context: turned into steady loads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from trimtab.cli.benchmarks import columns
from trimtab.cli.benchmarks.document import Document
from trimtab.cli.benchmarks.measurement import Measurement, number
from trimtab.errors import InvalidInput

NAME = "steps"

WANTED = (
    "A table of steps needs phase (prefill or decode), batch_size, context_tokens and latency_ms, "
    "or prompt_size, batch_size, token_size, prompt_ms and token_ms"
)
_TYPICAL = 50
_GRID = {"phase", "batch_size", "context_tokens", "latency_ms"}
_BATCHES = {"prompt_size", "batch_size", "token_size", "prompt_ms", "token_ms"}
_NEAR = 1.5
"""Ratio of contexts up to which a measured step stands for another one."""


def recognises(document: Document) -> bool:
    """Return whether `document` is a table of steps."""
    return document.columns >= _GRID or document.columns >= _BATCHES


@dataclass(slots=True)
class _Steps:
    """Seconds of the steps of one replica."""

    prompts: dict[float, float] = field(default_factory=dict)
    """By tokens of the prompt."""
    decodes: dict[tuple[float, float], float] = field(default_factory=dict)
    """By batch and context."""


def read(document: Document, output_tokens: float | None) -> list[Measurement]:
    """Return loads that keep one replica at the batches in the table, at the median.

    A batch of b answers of n tokens that take the step time each is the load of b / (n * gap)
    requests per second; a gap is the step and its share of the prompts that come in meanwhile.

    Raises:
        InvalidInput: The table does not say how long answers are, and neither does the user.
    """
    if document.columns >= _BATCHES:
        return [_batch(row, document.where(i)) for i, row in enumerate(document.rows)]
    if output_tokens is None:
        raise InvalidInput(
            "--output-tokens", "is missing", "Say how long answers are: a step does not"
        )
    replicas: dict[tuple[tuple[str, str], ...], _Steps] = {}
    for index, row in enumerate(document.rows):
        _add(replicas.setdefault(tuple(columns.labels_of(row).items()), _Steps()), row,
             document.where(index))  # fmt: skip
    return [
        measurement
        for labels, steps in replicas.items()
        for measurement in _loads(steps, output_tokens, document.name, dict(labels))
    ]


def _batch(row: Mapping[str, str], where: str) -> Measurement:
    """A batch that is worked off as a whole: its prompts together, then all its tokens."""
    prompt_s, step_s = number(row, "prompt_ms", where) / 1e3, number(row, "token_ms", where) / 1e3
    batch, answer = number(row, "batch_size", where), number(row, "token_size", where)
    return Measurement(
        where=where,
        input_tokens=number(row, "prompt_size", where),
        output_tokens=answer,
        rps=batch / (prompt_s + step_s * max(answer - 1.0, 0.0)),
        percentile=_TYPICAL,
        ttft_s=prompt_s,
        itl_s=step_s,
        labels=columns.labels_of(row),
    )


def _add(steps: _Steps, row: Mapping[str, str], where: str) -> None:
    batch, context = number(row, "batch_size", where), number(row, "context_tokens", where)
    seconds = number(row, "latency_ms", where) / 1e3
    if row["phase"] == "decode":
        steps.decodes[batch, context] = seconds
    elif row["phase"] == "prefill" and batch == 1:
        steps.prompts[context] = seconds
    elif row["phase"] not in ("prefill", "mixed"):
        raise InvalidInput(
            f"{where}: phase", f"{row['phase']!r} is unknown", "Write prefill, decode or mixed"
        )


def _loads(
    steps: _Steps, output_tokens: float, where: str, labels: dict[str, str]
) -> list[Measurement]:
    """One load for each prompt length and batch whose context was measured."""
    found = []
    batches = sorted({batch for batch, _ in steps.decodes})
    for prompt, prompt_s in sorted(steps.prompts.items()):
        for batch in batches:
            step_s = _near(steps, batch, prompt + output_tokens / 2)
            # With more than one prompt in two steps the median gap is none of a pure decode step.
            if step_s is None or batch / output_tokens > 0.5:
                continue
            gap_s = step_s + batch / output_tokens * prompt_s
            found.append(
                Measurement(
                    where=f"{where}: batch {batch:g}, prompt {prompt:g}",
                    input_tokens=prompt,
                    output_tokens=output_tokens,
                    rps=batch / (output_tokens * gap_s),
                    percentile=_TYPICAL,
                    ttft_s=prompt_s + step_s,
                    itl_s=step_s,
                    labels=labels,
                )
            )
    return found


def _near(steps: _Steps, batch: float, context: float) -> float | None:
    known = [(abs(math.log(c / context)), s) for (b, c), s in steps.decodes.items() if b == batch]
    distance, seconds = min(known, default=(math.inf, 0.0))
    return seconds if distance <= math.log(_NEAR) else None
