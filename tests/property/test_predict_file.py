"""Whatever a file of questions holds, each row is answered or says why not."""

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.cli.predictfile import RESULTS, answer_file

NUMBERS = [
    "", "1", "0", "-1", "8", "2.5", "1e3", "1e308", "1e400", "-0", "nan", "inf", "-inf", "٣", "1_0",
    "0x10", "many", "True", "1,5", " 4 ", "9999999999999999999999",
]  # fmt: skip
odd = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
numbers = st.one_of(st.sampled_from(NUMBERS), odd, st.floats().map(str), st.integers().map(str))
COLUMNS = {
    "model": st.one_of(st.sampled_from(["Llama-3.1-8B", "gpt-oss-20b", "OPT-125M", ""]), odd),
    "accelerator": st.one_of(st.sampled_from(["h100", "l4", "tpu-v6e", ""]), odd),
    "quantization": st.one_of(st.sampled_from(["", "fp8", "AWQ", "none"]), odd),
    "kv_dtype": st.one_of(st.sampled_from(["", "fp8", "bf16"]), odd),
    "tensor_parallel": numbers,
    "pipeline_parallel": numbers,
    "expert_parallel": numbers,
    "engine": st.one_of(st.sampled_from(["", "vllm", "sglang", "none"]), odd),
    "input_tokens": numbers,
    "output_tokens": numbers,
    "prefix_hit": numbers,
    "concurrency": numbers,
    "request_rate": numbers,
    "spread": numbers,
    "max_num_seqs": numbers,
    "max_num_batched_tokens": numbers,
    "max_model_len": numbers,
    "draft_tokens": numbers,
    "accepted_tokens": numbers,
}
plain = {
    name: st.sampled_from(["", "1", "8"]) if strategy is numbers else strategy
    for name, strategy in COLUMNS.items()
}
rows = st.one_of(st.fixed_dictionaries(COLUMNS), st.fixed_dictionaries(plain))


def answered(text: str) -> list[dict[str, str]]:
    target = io.StringIO()
    for _ in answer_file(io.StringIO(text, newline=""), target, ()):
        pass
    return list(csv.DictReader(io.StringIO(target.getvalue(), newline="")))


@settings(max_examples=150, deadline=None)
@given(asked=st.lists(rows, min_size=1, max_size=6))
def test_every_row_has_an_answer(asked: list[dict[str, str]]) -> None:
    source = io.StringIO()
    writer = csv.DictWriter(source, list(COLUMNS))
    writer.writeheader()
    writer.writerows(asked)
    replies = answered(source.getvalue())
    assert len(replies) == len(asked)
    for reply in replies:
        assert set(RESULTS) <= set(reply)
        if reply["fits"] == "true":
            assert float(reply["ttft_ms"]) > 0
            assert float(reply["tokens_per_s"]) >= 0
            assert reply["reason"] in ("", "Saturated")
        else:
            assert reply["fits"] == "false"
            assert reply["reason"]


@settings(max_examples=100, deadline=None)
@given(lines=st.lists(odd, max_size=6))
def test_lines_of_anything_below_a_header_never_stop_the_file(lines: list[str]) -> None:
    text = "\n".join(["model,accelerator,concurrency", *lines]) + "\n"
    for reply in answered(text):
        assert reply["fits"] == "true" or reply["reason"]
