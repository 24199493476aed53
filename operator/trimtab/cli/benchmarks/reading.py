"""Which tool wrote a file, and the measurements in it."""

from collections.abc import Callable
from enum import StrEnum
from types import ModuleType

from trimtab.cli.benchmarks import (
    aiconfigurator,
    genaiperf,
    guidellm,
    inferenceperf,
    plaincsv,
    steps,
    vllm,
)
from trimtab.cli.benchmarks.document import Document
from trimtab.cli.benchmarks.measurement import Measurement, checked
from trimtab.errors import InvalidInput


class Tool(StrEnum):
    """Which tool wrote a file."""

    AUTO = "auto"
    VLLM_BENCH = vllm.NAME
    INFERENCE_PERF = inferenceperf.NAME
    GENAI_PERF = genaiperf.NAME
    GUIDELLM = guidellm.NAME
    AICONFIGURATOR = aiconfigurator.NAME
    STEPS = steps.NAME
    CSV = plaincsv.NAME


_TOOLS: dict[Tool, ModuleType] = {
    Tool.VLLM_BENCH: vllm,
    Tool.INFERENCE_PERF: inferenceperf,
    Tool.GENAI_PERF: genaiperf,
    Tool.GUIDELLM: guidellm,
    Tool.AICONFIGURATOR: aiconfigurator,
    Tool.STEPS: steps,
    Tool.CSV: plaincsv,
}


def tool_of(document: Document, named: Tool) -> Tool:
    """Return which tool wrote `document`: the one that is named, or the only one it looks like.

    Raises:
        InvalidInput: It looks like none or like several, or not like the named one.
    """
    alike = [tool for tool, reader in _TOOLS.items() if reader.recognises(document)]
    if named is not Tool.AUTO:
        if named in alike or (named is Tool.CSV and document.rows):
            return named
        raise InvalidInput(
            f"{document.name}: --format", f"it is no {named.value}", _remedy(document, named)
        )
    if len(alike) == 1:
        return alike[0]
    problem = f"may be {' or '.join(alike)}" if alike else "is of no format that is known"
    raise InvalidInput(f"{document.name}: --format", problem, _remedy(document))


def measurements(
    document: Document, tool: Tool, *, percentile: int | None, output_tokens: float | None
) -> list[Measurement]:
    """Return the measurements in `document`, each with figures that can be.

    Raises:
        InvalidInput: A figure is missing or impossible, or there is no measurement at all.
    """
    try:
        if tool is Tool.STEPS:
            found = steps.read(document, output_tokens)
        else:
            read: Callable[[Document, int | None], list[Measurement]] = _TOOLS[tool].read
            found = read(document, percentile)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        # A tool's file is trusted to have the shape that it looks like, until it has not.
        raise InvalidInput(
            document.name, f"is no sound {tool.value} file ({error})", "Give it as it was written"
        ) from error
    if not found:
        raise InvalidInput(
            document.name, "holds no measurement of one replica", "Leave the file out"
        )
    return [checked(one) for one in found]


def _remedy(document: Document, named: Tool = Tool.AUTO) -> str:
    names = ", ".join(tool.value for tool in _TOOLS)
    wanted = "JSON must be as the tool wrote it"
    if named is Tool.STEPS:
        wanted = steps.WANTED
    elif document.rows:
        columns = "input_tokens, output_tokens, requests_per_second, ttft_p95_ms and itl_p95_ms"
        wanted = f"A CSV needs {columns}"
    return f"{wanted}; known are {names}"
