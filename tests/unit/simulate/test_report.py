"""The report holds everything, is well-formed, loads nothing, and trusts no name."""

import json
import re
from xml.etree import ElementTree

import pytest

from trimtab.models.load import LatencyTargets
from trimtab.simulate.compare import rows_of
from trimtab.simulate.report.chart import WIDTH, Chart, Line
from trimtab.simulate.report.page import Section, report
from trimtab.simulate.report.scatter import Scatter
from trimtab.simulate.report.svg import rounded, stairs, ticks
from unit.simulate.results import KEY, deployment_result, marker, measured, run_result

HOSTILE = "<script>alert('x')</script>&\"]]>"
SVG = "{http://www.w3.org/2000/svg}"


def make_section(**over: object) -> Section:
    runs = [
        measured(policy="trimtab"),
        measured(policy="keda", cost_usd=7.0, deployments={KEY: deployment_result(met=70)}),
    ]
    values: dict[str, object] = {
        "name": "steady",
        "about": "Nothing happens.",
        "rows": rows_of(runs),
        "runs": [run.result for run in runs],
        "targets": {KEY: LatencyTargets(ttft_s=0.5, itl_s=0.05)},
        "bound_usd": 2.0,
    }
    return Section(**(values | over))  # type: ignore[arg-type]


def parsed(page: str) -> ElementTree.Element:
    assert page.startswith("<!DOCTYPE html>")
    return ElementTree.fromstring(page)


def cells_of(table: ElementTree.Element) -> list[str]:
    return [" ".join(row.itertext()) for row in table.iter("tr")]


def words(page: str) -> str:
    return " ".join(parsed(page).itertext())


def test_every_policy_and_every_reason_is_in_it() -> None:
    section = make_section(
        runs=[
            run_result(decisions=(marker(message="Demand rose to 8 requests/s"),
                                  marker(why="Window", message="It waits for fresh evidence"))),
            run_result(policy="keda", decisions=()),
        ]
    )  # fmt: skip
    page = report([section])
    found = words(page)
    for expected in ("trimtab", "keda", "steady", "Nothing happens.", "Demand rose to 8 requests/s",
                     "It waits for fresh evidence", "2 x h100/tp1"):  # fmt: skip
        assert expected in found
    # Each reason stands in the table and is shown over its marker.
    titles = [title.text or "" for title in parsed(page).iter("title")]
    assert any("Window It waits for fresh evidence" in title for title in titles)


def test_each_deployment_of_several_is_told_apart() -> None:
    parts = {KEY: deployment_result(met=70), "team/other": deployment_result(met=90)}
    runs = [measured(policy="trimtab", deployments=parts), measured(policy="keda", deployments={})]
    page = report([make_section(rows=rows_of(runs), runs=[runs[0].result])])
    (table,) = [
        each for each in parsed(page).iter("table") if "deployment trimtab keda" in cells_of(each)
    ]
    assert f"{KEY} 70.00 -" in cells_of(table)
    assert "team/other 90.00 -" in cells_of(table)
    heading = f"{KEY}: 70.00 % attained, ${parts[KEY].usd:,.2f}"
    assert heading in words(page)
    assert "Attained by each deployment" not in words(report([make_section()]))


def test_it_loads_nothing() -> None:
    page = report([make_section()])
    assert "http" not in page
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert "@import" not in page
    assert "url(" not in page


@pytest.mark.parametrize("place", ["policy", "scenario", "message", "deployment", "pool"])
def test_names_are_never_markup(place: str) -> None:
    runs = [
        measured(
            policy=HOSTILE if place == "policy" else "trimtab",
            key=HOSTILE if place == "deployment" else KEY,
            decisions=(
                marker(
                    message=HOSTILE if place == "message" else "words",
                    deployment=HOSTILE if place == "deployment" else KEY,
                    fleet={HOSTILE if place == "pool" else "h100/tp1": 1},
                ),
            ),
        )
    ]
    section = make_section(
        name=HOSTILE if place == "scenario" else "steady",
        rows=rows_of(runs),
        runs=[run.result for run in runs],
        targets={},
    )
    page = report([section, section])
    assert HOSTILE in words(page)
    assert "<script>alert" not in page
    assert len(list(parsed(page).iter("script"))) == 1


def test_there_is_a_picture_of_everything_with_its_unit() -> None:
    page = report([make_section()])
    headings = [
        element.text or ""
        for element in parsed(page).iter("text")
        if element.get("class") == "heading"
    ]
    for expected in (
        "Demand and capacity (requests/s)",
        "Replicas (replicas)",
        "Cost ($/h)",
        "TTFT, p95 of the last minute (s)",
        "ITL, p95 of the last minute (ms)",
    ):
        assert headings.count(expected) == 2, expected
    assert "target 50 ms" in words(page)


def test_a_week_is_no_larger_than_an_hour() -> None:
    short, long = (
        len(report([make_section(runs=[run_result(steps=steps)])])) for steps in (180, 12_000)
    )
    assert long < 1.3 * short


def test_the_pointer_finds_the_numbers_of_each_line() -> None:
    page = parsed(report([make_section(runs=[run_result(steps=3)])]))
    chart = next(svg for svg in page.iter("svg") if svg.get("data-unit") == "requests/s")
    assert json.loads(chart.attrib["data-at"]) == [105, 210, 315]
    assert json.loads(chart.attrib["data-lines"]) == [
        ["demand", [5, 6, 7]],
        ["capacity within targets", [8, 9, 10]],
    ]


def test_a_run_without_requests_is_shown_as_such() -> None:
    empty = run_result(
        deployments={KEY: deployment_result(met=0, settled=0)}, decisions=(), steps=0
    )
    assert "no request" in words(report([make_section(runs=[empty])]))


def test_the_scatter_stands_alone() -> None:
    section = make_section()
    root = ElementTree.fromstring(section.scatter.svg(alone=True))
    assert root.tag == f"{SVG}svg"
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"trimtab", "keda", "cost of the run ($), logarithmic"} <= set(texts)
    assert "prefers-color-scheme:dark" in (root.findtext(f"{SVG}style") or "")


def test_the_scatter_puts_cheap_left_and_good_above() -> None:
    rows = rows_of(
        [
            measured(policy="good", cost_usd=9.0, deployments={KEY: deployment_result(met=100)}),
            measured(policy="cheap", cost_usd=1.0, deployments={KEY: deployment_result(met=50)}),
        ]
    )
    root = ElementTree.fromstring(Scatter(title="x", rows=rows, goal=0.99).svg())
    good, cheap = (
        next(c for c in root.iter("circle") if (c.findtext("title") or "").startswith(name))
        for name in ("good", "cheap")
    )
    assert float(good.attrib["cx"]) > float(cheap.attrib["cx"])
    assert float(good.attrib["cy"]) < float(cheap.attrib["cy"])


def test_the_scatter_names_every_policy_where_all_are_in_one_place() -> None:
    names = [f"policy-{number}" for number in range(12)]
    rows = rows_of(measured(policy=name, cost_usd=5.0) for name in names)
    root = ElementTree.fromstring(Scatter(title="x", rows=rows, goal=0.99).svg())
    assert set(names) <= {element.text for element in root.iter("text")}
    assert list(root.iter("line"))


def test_ticks_are_round() -> None:
    assert ticks(0.0, 9.3) == [0.0, 2.5, 5.0, 7.5]
    assert [rounded(value) for value in (0.0, 0.125, 7.5, 1200.0)] == ["0", "0.125", "7.5", "1,200"]


def test_stairs_keep_a_value_until_the_next() -> None:
    assert stairs([(0, 1), (1, 1), (2, 3), (3, 3)]) == [(0, 1), (2, 1), (2, 3), (3, 3)]
    assert stairs([(0, 1)]) == [(0, 1)]
    assert stairs([]) == []


def test_a_legend_that_is_too_long_for_a_row_takes_more_and_loses_no_name() -> None:
    names = [f"a-team/a-model-with-a-name-{number} decided" for number in range(6)]
    lines = [Line(label=name, values=[1.0, 2.0], colour=0) for name in names]
    drawn = ElementTree.fromstring(
        Chart(title="R", unit="count", at_s=[0.0, 9.0], lines=lines).svg()
    )
    placed = {mark.text: mark for mark in drawn.iter("text") if mark.text in names}
    assert list(placed) == names
    # 6.4 pixels are a letter of the legend at its widest font.
    assert all(float(mark.get("x", "")) + 6.4 * len(name) <= WIDTH for name, mark in placed.items())
    lowest = max(float(mark.get("y", "")) for mark in placed.values())
    assert min(float(line.get("y1", "")) for line in drawn.iter("line")) > lowest
