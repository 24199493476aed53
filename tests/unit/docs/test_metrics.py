"""The pages name only metrics that are exported, and the reference names all of them."""

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from doccommands import PAGES, ROOT
from trimtab.cli import metricspage
from trimtab.telemetry.names import Metrics

SUFFIXES = ("_bucket", "_sum", "_count")


def listed() -> set[str]:
    return set(re.findall(r"^\| `(trimtab_\w+)` \|", metricspage.page(), re.MULTILINE))


def test_every_metric_that_a_process_starts_with_is_in_the_reference() -> None:
    page = generate_latest(Metrics().registry).decode()
    families = [family.name for family in text_string_to_metric_families(page)]
    ours = [name for name in families if name.startswith("trimtab")]
    assert len(ours) > 10
    for name in ours:
        assert {name, f"{name}_total", f"{name}_info"} & listed(), name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_names_no_metric_that_is_not_exported(path: Path) -> None:
    text = re.sub(r"trimtab_e2e|[\w/]+\.py", "", path.read_text("utf-8"))
    for name in re.findall(r"\btrimtab_[a-z_]+\b", text):
        bare = next((name.removesuffix(s) for s in SUFFIXES if name.endswith(s)), name)
        assert bare in listed(), name
