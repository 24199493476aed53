"""One row for each policy, from what its runs gave."""

import csv
import io
import json

import pytest
from rich.console import Console

from trimtab.simulate import compare
from trimtab.simulate.compare import FixedFleet, rows_of, t_quantile
from unit.simulate.results import deployment_result, measured


def test_a_row_has_the_mean_over_seeds_and_its_confidence() -> None:
    (row,) = rows_of(
        [measured(cost_usd=usd, seed=seed) for seed, usd in enumerate((3.0, 4.0, 5.0))]
    )
    found = row.figures["usd"]
    assert found is not None
    assert (found.mean, found.seeds) == (4.0, 3)
    # t(2) = 4.303, deviation 1, three values.
    assert found.half_width == pytest.approx(4.303 / 3**0.5, rel=1e-3)


def test_one_seed_has_no_confidence() -> None:
    (row,) = rows_of([measured()])
    found = row.figures["usd"]
    assert found is not None
    assert found.half_width is None


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (2, 4.303), (3, 3.182), (9, 2.262), (30, 2.042)]
)
def test_students_quantiles_are_those_of_the_tables(freedom: int, quantile: float) -> None:
    assert t_quantile(freedom) == pytest.approx(quantile, abs=5e-4)


def test_ratios_are_over_what_they_are_called_after() -> None:
    fixed = FixedFleet(usd=2.0, replica_hours=2.0, replicas={})
    (row,) = rows_of([measured(optimum_usd=3.2, bound_usd=2.5, fixed=fixed)])
    assert row.mean("usd_to_optimum") == pytest.approx(1.25)
    assert row.mean("usd_to_bound") == pytest.approx(1.6)
    assert row.mean("usd_to_fixed") == pytest.approx(2.0)
    assert row.mean("replica_hours_to_fixed") == pytest.approx(1.25)


def test_what_one_seed_lacks_no_row_claims() -> None:
    (row,) = rows_of([measured(optimum_usd=3.2), measured(seed=1)])
    assert row.figures["usd_to_optimum"] is None


def test_errors_are_misses_in_what_is_attained() -> None:
    (row,) = rows_of([measured(deployments={"a/b": deployment_result(met=80, settled=100)})])
    assert row.mean("attainment") == pytest.approx(0.8)
    assert row.mean("errors") == 20


def test_policies_and_scenarios_keep_apart_in_order() -> None:
    rows = rows_of(
        [
            measured(policy="b"),
            measured(policy="a"),
            measured(policy="b", scenario="other"),
            measured(policy="b", seed=1),
        ]
    )
    assert [(row.scenario, row.policy, row.seeds) for row in rows] == [
        ("steady", "b", 2),
        ("steady", "a", 1),
        ("other", "b", 1),
    ]


def test_the_table_shows_units_and_dashes() -> None:
    console = Console(width=240, file=io.StringIO(), record=True)
    console.print(compare.table(rows_of([measured(), measured(policy="keda")]), 240))
    text = console.export_text()
    assert "cost ($)" in text
    assert "95.00" in text
    assert "on h100 (h)" in text
    assert "keda" in text
    assert " - " in text


@pytest.mark.parametrize("width", [60, 80, 120, 240])
def test_no_figure_is_cut_on_a_terminal_of_any_width(width: int) -> None:
    rows = rows_of(
        [
            measured(seed=seed, cost_usd=400.0 + seed, policy=policy)
            for policy in ("keda", "trimtab-reduced")
            for seed in range(3)
        ]
    )
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(compare.table(rows, width))
    text = console.export_text()
    assert "…" not in text
    assert compare.cell(rows[0], "usd") in text
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    drawn = [line.strip() for line in lines if line.strip().startswith(tuple("┏┃┡│└"))]
    assert len({len(line) for line in drawn}) == 1
    assert all(line.endswith(tuple("┓┃┩│┘")) for line in drawn), "the right edge is there"
    assert ("more on a wider terminal" in text) == (width < 240)


def test_json_and_csv_say_the_same() -> None:
    rows = rows_of([measured(seed=seed, cost_usd=4.0 + seed) for seed in range(2)])
    document = json.loads(json.dumps(compare.to_json(rows)))
    (line,) = csv.DictReader(io.StringIO(compare.to_csv(rows)))
    usd = document[0]["figures"]["usd"]
    assert float(line["usd"]) == usd["mean"] == 4.5
    assert float(line["usd_ci95"]) == pytest.approx(usd["half_width"])
    assert line["usd_to_optimum"] == ""
    assert document[0]["figures"]["usd_to_optimum"] is None
    assert document[0]["replica_hours_by_pool"] == {"h100": 1.5, "l4": 1.0}
    assert (line["replica_hours on h100"], line["replica_hours on l4"]) == ("1.5", "1.0")
    assert document[0]["attainment_by_deployment"] == {"assistants/chat": 0.95}
    assert line["attainment of assistants/chat"] == "0.95"
