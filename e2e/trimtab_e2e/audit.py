"""Read an API server's audit log: who wrote what, when, and with what answer."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


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


def _read(log: Path) -> Iterator[Write]:
    with log.open() as lines:
        for line in lines:
            if line.endswith("\n"):  # else it is still being written
                yield _write(json.loads(line))


def _write(event: dict[str, Any]) -> Write:
    target = event.get("objectRef", {})
    parts = [target.get("resource", ""), target.get("subresource", "")]
    return Write(
        at=datetime.fromisoformat(event["requestReceivedTimestamp"]),
        user=event["user"].get("username", ""),
        verb=event["verb"],
        resource="/".join(part for part in parts if part),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        user_agent=event.get("userAgent", ""),
    )
