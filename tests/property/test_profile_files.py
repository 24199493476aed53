"""Whatever a benchmark file holds, it becomes measurements or is refused by name."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.cli.benchmarks.document import read_document
from trimtab.cli.benchmarks.manifest import Identity, manifest
from trimtab.cli.benchmarks.reading import Tool, measurements, tool_of
from trimtab.errors import InvalidInput

SAID = Identity(model="acme/new", accelerator="h100", tensor_parallel=1)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6),
    st.sampled_from(["inf", "nan", "-1", "0", "1e999"]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["mean", "p95", "unit", "successful"]), inner, max_size=3),
    ),
    max_leaves=6,
)
SHAPES: list[tuple[str, ...]] = [
    ("request_throughput", "completed", "total_input_tokens", "total_output_tokens",
     "p95_ttft_ms", "p95_itl_ms", "request_rate", "max_concurrency", "ttfts", "itls"),
    ("load_summary", "successes"),
    ("request_throughput", "time_to_first_token", "inter_token_latency",
     "output_sequence_length", "input_sequence_length"),
    ("benchmarks",),
]  # fmt: skip
HEADERS = [
    "input_tokens,output_tokens,rps,ttft_p95_ms,itl_p95_ms",
    "isl,osl,concurrency,ttft,tpot,tp,pp,system,model",
    "phase,batch_size,context_tokens,latency_ms,model",
    "prompt_size,batch_size,token_size,prompt_ms,token_ms",
]


def understood(path: Path) -> None:
    with suppress(InvalidInput):
        document = read_document(path)
        found = measurements(
            document, tool_of(document, Tool.AUTO), percentile=None, output_tokens=64
        )
        assert manifest(found, SAID, "test").document["spec"]["points"]


@pytest.mark.parametrize("shape", SHAPES)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_json_ends_in_a_traceback(
    tmp_path: Path, shape: tuple[str, ...], data: st.DataObject
) -> None:
    content: dict[str, Any] = {name: data.draw(values) for name in shape}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content))
    understood(path)


@pytest.mark.parametrize("header", HEADERS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_table_ends_in_a_traceback(tmp_path: Path, header: str, data: st.DataObject) -> None:
    cells = st.one_of(st.sampled_from(["1", "64", "0", "-1", "nan", "decode", "prefill"]),
                      st.text(max_size=5))  # fmt: skip
    rows = data.draw(st.lists(st.lists(cells, max_size=10), max_size=4))
    path = tmp_path / "points.csv"
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]), encoding="utf-8",
                    errors="replace")  # fmt: skip
    understood(path)
