"""A name never leads to a model of another size, whatever stands around it."""

import re
from importlib import resources
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from trimtab.catalog import geometries
from trimtab.catalog.modelnames import words_of

ENTRIES: dict[str, dict[str, Any]] = yaml.safe_load(
    resources.files("trimtab.catalog").joinpath("data/geometries.yaml").read_text("utf-8")
)
SIZE = re.compile(r"(?<![\w.])\d+(?:\.\d+)?[BM](?=-|$)")
SPELLINGS = [
    name for entry, fields in ENTRIES.items() for name in (entry, *fields.get("aliases", ()))
]
SIZED = sorted(name for name in SPELLINGS if SIZE.search(name))
KNOWN = {words_of(name) for name in SPELLINGS}
organisations = st.sampled_from(["", "meta-llama/", "google/", "acme-labs/", "a/b/"])
endings = st.lists(
    st.sampled_from(
        ["Instruct", "chat", "hf", "it", "AWQ", "GPTQ-Int4", "FP8-dynamic", "2507", "v0.3", "128k",
         "quantized.w4a16", "bnb-4bit"]
    ),
    max_size=3,
)  # fmt: skip
cases = st.sampled_from([str, str.lower, str.upper])


@given(name=st.sampled_from(SPELLINGS), organisation=organisations, endings=endings, case=cases)
def test_decoration_changes_nothing(
    name: str, organisation: str, endings: list[str], case: Any
) -> None:
    plain, decorated = (
        geometries.get(name),
        geometries.get(case(organisation + "-".join([name, *endings]))),
    )
    assert plain is not None
    assert decorated is not None
    assert (decorated.name, decorated.layers) == (plain.name, plain.layers)


@given(
    name=st.sampled_from(SIZED),
    size=st.floats(0.1, 999).map(lambda size: f"{size:.3g}B"),
    organisation=organisations,
    endings=endings,
)
def test_another_size_is_another_model_or_none(
    name: str, size: str, organisation: str, endings: list[str]
) -> None:
    other = SIZE.sub(size, name, count=1)
    if words_of(other) in KNOWN:
        return
    assert geometries.get(organisation + "-".join([other, *endings])) is None


@given(st.text(max_size=40))
def test_any_text_is_a_name(text: str) -> None:
    found = geometries.get(text)
    assert found is None or found.name in ENTRIES
