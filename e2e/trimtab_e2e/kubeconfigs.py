"""Write kubeconfig files: one cluster, one user, everything embedded."""

import base64
import json
import os
from pathlib import Path
from typing import Any


def write(path: Path, *, server: str, ca: bytes, token: str, user: str) -> Path:
    """Write a kubeconfig for a bearer token, readable by its owner only."""
    document = _document({"server": server, "certificate-authority-data": _b64(ca)}, user, token)
    return _write_private(path, document)


def for_another_user(source: dict[str, Any], path: Path, *, user: str, token: str) -> Path:
    """Write a kubeconfig that reaches the same cluster as another one, as another user."""
    current = source["current-context"]
    context = _named(source["contexts"], current)["context"]
    cluster = _named(source["clusters"], context["cluster"])["cluster"]
    return _write_private(path, _document(cluster, user, token))


def server_of(source: dict[str, Any]) -> str:
    """Give the API server's URL of a kubeconfig's current context."""
    context = _named(source["contexts"], source["current-context"])["context"]
    return str(_named(source["clusters"], context["cluster"])["cluster"]["server"])


def _document(cluster: dict[str, Any], user: str, token: str) -> dict[str, Any]:
    name = "trimtab-local"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }


def _named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(item for item in items if item["name"] == name)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _write_private(path: Path, document: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(document, file, indent=1)  # every YAML reader reads JSON
    temporary.rename(path)
    return path
