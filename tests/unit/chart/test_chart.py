"""The chart's files against the code: metrics that exist, defaults that are the same, no gap."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from trimtab.config import OperatorConfig
from trimtab.telemetry.names import DeploymentSample, Metrics, PoolSample
from trimtab.units import parse_duration
from trimtab.version import VERSION

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts/trimtab"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))


def load(name: str) -> Any:
    return yaml.safe_load((CHART / name).read_text())


def alerts() -> list[dict[str, Any]]:
    return [rule for group in load("alerts.yaml")["groups"] for rule in group["rules"]]


def leaves(values: Mapping[str, Any], schema: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Yield the path of every value that the schema does not go into further."""
    for key, value in values.items():
        below = schema["properties"][key]
        if "properties" in below and isinstance(value, dict):
            yield from leaves(value, below, f"{at}{key}.")
        else:
            yield f"{at}{key}"


def exported() -> set[str]:
    """Name every series that the operator exports."""
    metrics = Metrics()
    metrics.cycles.labels(outcome="ok").inc()
    metrics.cycle_seconds.labels(phase="plan").observe(1)
    metrics.decisions.labels(why="DemandRose").inc()
    metrics.written("Deployment", "apply", "ok")
    metrics.watch_age.labels(kind="Node").set(1)
    deployment = DeploymentSample(
        namespace="a", name="b", desired=1, ready=1, recommended=False, usd_per_hour=1, slo=1,
        demand_rps=1, queued=1, signals=(("fresh", 1),),
    )  # fmt: skip
    metrics.fleet.show([deployment], [PoolSample(name="p", total=1, promised=1, foreign=0)])
    page = generate_latest(metrics.registry).decode()
    return {
        sample.name for family in text_string_to_metric_families(page) for sample in family.samples
    }


def named_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:trimtab|process)_[a-z_]+\b", expression))


def test_every_alert_watches_something_that_is_exported() -> None:
    known = exported()
    for alert in alerts():
        assert named_in(alert["expr"]), alert["alert"]
        assert named_in(alert["expr"]) <= known, alert["alert"]


def test_every_alert_has_a_runbook_and_no_runbook_is_of_none() -> None:
    sections = re.findall(r"^## (\S+)$", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE)
    assert sections == [alert["alert"] for alert in alerts()]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_shows_something_that_is_exported(path: Path) -> None:
    known = exported()
    panels = [p for p in json.loads(path.read_text())["panels"] if p["type"] != "row"]
    assert len(panels) > 10
    for panel in panels:
        for target in panel["targets"]:
            names = named_in(target["expr"])
            assert names
            assert names <= known, panel["title"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_two_panels_lie_on_each_other(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def explained() -> dict[str, str]:
    """Give the words above each value in values.yaml, as helm-docs reads them."""
    found: dict[str, str] = {}
    path: list[str] = []
    words: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        text = line.strip()
        if text.startswith("#"):
            words = [*words, text.removeprefix("#").strip()]
        elif key := re.match(r"( *)([A-Za-z]+):", line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if words:
                found[".".join(path)] = " ".join(words).removeprefix("-- ")
            words = []
    return found


def test_the_table_of_values_is_what_values_yaml_says() -> None:
    rows = {
        cells[0].strip(): (json.loads(cells[2].strip().strip("`")), cells[3].strip())
        for line in (CHART / "README.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| Key")
        for cells in [re.split(r"(?<!\\)\|", line.strip("|"))]
    }
    values = load("values.yaml")
    schema = json.loads((CHART / "values.schema.json").read_text())
    for path in leaves(values, schema):
        assert any(path.startswith(key) for key in rows), f"{path} has no row"
    words = explained()
    assert words.keys() == rows.keys()
    for path, (default, description) in rows.items():
        value = values
        for key in path.split("."):
            value = value[key]
        assert value == default, path
        assert words[path] == description, path


def test_a_typo_in_a_value_is_an_error_at_every_level() -> None:
    def closed(schema: Mapping[str, Any], at: str) -> None:
        if "properties" in schema:
            assert schema["additionalProperties"] is False, at
            for key, below in schema["properties"].items():
                closed(below, f"{at}.{key}")

    closed(json.loads((CHART / "values.schema.json").read_text()), "values")


def test_the_defaults_are_those_of_the_command_line() -> None:
    values, config = load("values.yaml"), OperatorConfig()
    planner, prometheus = values["planner"], values["prometheus"]
    assert values["metricsSource"] == config.metrics_source
    assert {
        "period": config.period_s,
        "scaleDownWindow": config.planner.scale_down_window_s,
        "pendingPatience": config.planner.pending_patience_s,
    } == {
        key: parse_duration(planner[key], key)
        for key in ("period", "scaleDownWindow", "pendingPatience")
    }
    assert planner["headroom"] == config.planner.headroom
    assert planner["scaleDownShare"] == config.planner.scale_down_share
    assert planner["switchSaving"] == config.planner.switch_saving
    assert parse_duration(prometheus["timeout"], "timeout") == config.prometheus_timeout_s
    assert parse_duration(prometheus["scrapeInterval"], "") == config.scrape_interval_s
    assert parse_duration(prometheus["rateWindow"], "") == config.rate_window_s
    assert values["discoverPools"] == config.discover_pools
    assert values["metrics"]["port"] == config.metrics_port


def test_the_chart_has_the_version_of_the_code() -> None:
    assert load("Chart.yaml")["appVersion"] == VERSION
