"""The decision log: one snapshot a line, replayable, bounded, and never in the way."""

from pathlib import Path

import pytest

import builders
from trimtab.config import PlannerConfig
from trimtab.controller import decisionlog
from trimtab.controller.decisionlog import DecisionLog
from trimtab.models.codec import Record, load_record
from trimtab.models.snapshot import Snapshot
from trimtab.planner.plan import plan

SNAPSHOT = Snapshot(
    now=builders.NOW,
    deployments=(builders.deployment_state(variants=(builders.variant_state(),)),),
    pools=(builders.pool(),),
)
RECORD = Record(snapshot=SNAPSHOT, config=PlannerConfig(), plan=plan(SNAPSHOT, PlannerConfig()))


def test_what_is_recorded_can_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    log = DecisionLog(str(path))
    log.append(RECORD)
    log.append(RECORD)
    lines = path.read_text().splitlines()
    assert [load_record(line) for line in lines] == [RECORD, RECORD]


def test_a_file_that_grew_too_large_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisionlog, "MAX_BYTES", 10)
    path = tmp_path / "decisions.jsonl"
    log = DecisionLog(str(path))
    for _ in range(3):
        log.append(RECORD)
    assert len(path.read_text().splitlines()) == 1
    assert len(path.with_name("decisions.jsonl.1").read_text().splitlines()) == 1


def test_a_file_that_cannot_be_written_costs_no_decision(tmp_path: Path) -> None:
    DecisionLog(str(tmp_path / "missing" / "decisions.jsonl")).append(RECORD)
    DecisionLog(None).append(RECORD)
    assert list(tmp_path.iterdir()) == []
