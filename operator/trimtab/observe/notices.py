"""Notices that a node is about to be taken back, as clouds and autoscalers write them on it. Pure.

A reclaim that is announced is known before any replica is gone: seconds to minutes in which its
successor can start. Our own disruption budget makes that count, as it lets a drain take one replica
at a time, while nodes that are reclaimed together go together.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.catalog.nodes import Taint, is_going

_CONDITION = "VMEventScheduled"
"""Azure's, by its node problem detector; of freezes, too (research/ecosystem.md 2.7)."""
_GOES = ("Preempt", "Terminate")
"""What it says of the events after which the node is gone."""


def notice_of(taints: Iterable[Taint], conditions: Iterable[Mapping[str, Any]]) -> str | None:
    """Return what says that the node goes, in a few words; None where nothing does."""
    for taint in taints:
        if is_going(taint):
            return f"taint {taint.key}"
    for condition in conditions:
        if (condition.get("type"), condition.get("status")) != (_CONDITION, "True"):
            continue
        said = f"{condition.get('reason')} {condition.get('message')}"
        event = next((word for word in _GOES if word in said), None)
        if event is not None:
            return f"condition {_CONDITION} ({event})"
    return None
