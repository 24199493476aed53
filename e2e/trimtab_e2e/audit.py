"""Read an API server's audit log: who wrote what, when, and with what answer; who asks for what."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

READS = ("get", "list", "watch")


@dataclass(frozen=True)
class Write:
    """One finished request that was not a read."""

    at: datetime
    user: str
    verb: str
    resource: str  # with its subresource, as in deployments/status
    namespace: str
    name: str
    code: int
    user_agent: str


def writes(log: Path, *, since: datetime | None = None, user: str | None = None) -> list[Write]:
    """Give the writes after a moment, of one user or of all."""
    return [
        write
        for write in _read(log)
        if (since is None or write.at > since) and (user is None or write.user == user)
    ]


def rights_asked(log: Path, user: str) -> set[tuple[str, str, str]]:
    """Give the (group, resource, verb) of every request of a user, those too that were refused.

    The policy logs reads of the operator's ServiceAccount only. A server-side apply that creates
    is a `patch` in the log, and needs both rights.
    """
    asked: set[tuple[str, str, str]] = set()
    for event in _events(log):
        target, code = event.get("objectRef"), event.get("responseStatus", {}).get("code")
        own = event["user"].get("username") == user
        if own and target is not None:
            what = target.get("apiGroup", ""), _resource(target)
            asked.add((*what, event["verb"]))
            if event["verb"] == "patch" and code == HTTPStatus.CREATED:
                asked.add((*what, "create"))
    return asked


def _read(log: Path) -> Iterator[Write]:
    return (_write(event) for event in _events(log) if event["verb"] not in READS)


def _events(log: Path) -> Iterator[dict[str, Any]]:
    with log.open() as lines:
        for line in lines:
            if line.endswith("\n"):  # else it is still being written
                yield json.loads(line)


def _resource(target: dict[str, Any]) -> str:
    parts = [target.get("resource", ""), target.get("subresource", "")]
    return "/".join(part for part in parts if part)


def _write(event: dict[str, Any]) -> Write:
    target = event.get("objectRef", {})
    return Write(
        at=datetime.fromisoformat(event["requestReceivedTimestamp"]),
        user=event["user"].get("username", ""),
        verb=event["verb"],
        resource=_resource(target),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        user_agent=event.get("userAgent", ""),
    )
