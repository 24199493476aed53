"""The decision log: one snapshot a line, replayable, bounded, and never in the way."""

from pathlib import Path

import pytest

import builders
from trimtab.controller import decisionlog
from trimtab.controller.decisionlog import DecisionLog
from trimtab.models.codec import load_snapshot
from trimtab.models.snapshot import Snapshot

SNAPSHOT = Snapshot(
    now=builders.NOW,
    deployments=(builders.deployment_state(variants=(builders.variant_state(),)),),
    pools=(builders.pool(),),
)


def test_what_is_recorded_can_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    log = DecisionLog(str(path))
    log.record(SNAPSHOT)
    log.record(SNAPSHOT)
    lines = path.read_text().splitlines()
    assert [load_snapshot(line) for line in lines] == [SNAPSHOT, SNAPSHOT]


def test_a_file_that_grew_too_large_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisionlog, "MAX_BYTES", 10)
    path = tmp_path / "decisions.jsonl"
    log = DecisionLog(str(path))
    for _ in range(3):
        log.record(SNAPSHOT)
    assert len(path.read_text().splitlines()) == 1
    assert len(path.with_name("decisions.jsonl.1").read_text().splitlines()) == 1


def test_a_file_that_cannot_be_written_costs_no_decision(tmp_path: Path) -> None:
    DecisionLog(str(tmp_path / "missing" / "decisions.jsonl")).record(SNAPSHOT)
    DecisionLog(None).record(SNAPSHOT)
    assert list(tmp_path.iterdir()) == []
