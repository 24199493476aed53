"""Argo CD's health checks of our kinds, run by the Lua that Argo CD runs them with."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from trimtab.api.conditions import ConditionType, Reason
from trimtab.api.crd import KINDS, object_schema
from trimtab_e2e import binaries

ROOT = Path(__file__).parents[2]
CHECKS: dict[str, str] = {
    key.rpartition("_")[2]: script
    for key, script in yaml.safe_load((ROOT / "deploy/argocd/health.yaml").read_text())[
        "data"
    ].items()
}


def lua_of(value: object) -> str:
    """Spell a JSON value as Lua, as Argo CD hands an object over."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{json.dumps(k)}] = {lua_of(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(lua_of, value)) + "}"
    return json.dumps(value)


def health(kind: str, resource: Mapping[str, Any]) -> tuple[str, str]:
    """Run the check of a kind on an object, and give its status and message."""
    script = f"""obj = {lua_of(resource)}
local hs = (function()
{CHECKS[kind]}
end)()
print(hs.status)
print(hs.message)
"""
    command = [str(binaries.lua()), "-e", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    status, _, message = done.stdout.partition("\n")
    return status, message.strip()


def seen(*conditions: tuple[str, str, str], generation: int = 3) -> dict[str, Any]:
    """Make an object of generation 3 whose status has these types, statuses and reasons."""
    told = [
        {"type": kind, "status": status, "reason": reason, "message": f"{reason} it is"}
        for kind, status, reason in conditions
    ]
    status = {"observedGeneration": generation, "conditions": told}
    return {"metadata": {"name": "chat", "generation": 3}, "status": status}


def test_every_kind_with_a_status_has_a_check() -> None:
    assert set(CHECKS) == {kind.KIND for kind in KINDS if "status" in kind.model_fields}


def test_every_word_in_a_check_is_one_of_ours() -> None:
    ours = {*ConditionType, *Reason, "True", "False", "type", "status", "message"}
    argo = {"Progressing", "Healthy", "Degraded", "Suspended", "Waiting for Trimtab"}
    for script in CHECKS.values():
        assert set(re.findall(r'"([^"]*)"', script)) <= ours | argo


@pytest.mark.parametrize("kind", CHECKS)
def test_what_was_just_stored_is_awaited(kind: str) -> None:
    resource = {each.KIND: each for each in KINDS}[kind]
    default = object_schema(resource)["properties"]["status"]["default"]
    stored = {"metadata": {"name": "chat", "generation": 1}, "status": default}
    assert health(kind, stored) == ("Progressing", "Waiting for Trimtab")


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (seen(("Ready", "True", "Serving")), "Healthy"),
        (seen(("Ready", "True", "ScaledToZero")), "Healthy"),
        (seen(("Ready", "True", "Serving"), generation=2), "Progressing"),
        (seen(("Ready", "False", "ReplicasNotReady")), "Progressing"),
        (seen(("Ready", "False", "Paused")), "Suspended"),
        (seen(("Ready", "False", "Recommending")), "Suspended"),
        (seen(("Ready", "False", "CapacityShort")), "Degraded"),
        (
            seen(("Ready", "False", "InvalidSpec"), ("Stalled", "True", "InvalidSpec")),
            "Degraded",
        ),
        # What it has serves, and a part of what it should have was refused.
        (seen(("Ready", "True", "Serving"), ("Stalled", "True", "ChildRejected")), "Degraded"),
    ],
)
def test_a_deployment_is_as_its_conditions_say(resource: dict[str, Any], expected: str) -> None:
    assert health("LLMDeployment", resource)[0] == expected


@pytest.mark.parametrize("kind", ["AcceleratorPool", "FleetBudget"])
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (("Ready", "True", "InUse"), "Healthy"),
        (("Ready", "False", "NoNodes"), "Suspended"),
        (("Ready", "False", "NoPrice"), "Degraded"),
        (("Ready", "Unknown", "Pending"), "Progressing"),
    ],
)
def test_what_is_cluster_wide_is_as_its_condition_says(
    kind: str, condition: tuple[str, str, str], expected: str
) -> None:
    assert health(kind, seen(condition)) == (expected, f"{condition[2]} it is")
