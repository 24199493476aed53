"""The malformed manifests of data/malformed.yaml, for the models and for the API server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trimtab.api.base import API_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """One manifest, what its refusal must name and say, and who can refuse it."""

    names: str
    says: str
    kind: str
    spec: dict[str, Any]
    name: str = "malformed"
    typo: bool = False

    @property
    def manifest(self) -> dict[str, Any]:
        return {
            "apiVersion": API_VERSION,
            "kind": self.kind,
            "metadata": {"name": self.name},
            "spec": self.spec,
        }

    def __str__(self) -> str:
        return f"{self.kind}: {self.names} {self.says}"


MALFORMED = tuple(
    Malformed(**case)
    for case in yaml.safe_load((Path(__file__).parent / "data/malformed.yaml").read_text())
)
