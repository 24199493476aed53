"""What `trimtab doctor` points at, from the mirror and its metrics alone."""

from typing import Any

import bodies
from trimtab.config import OperatorConfig
from trimtab.models.memory import PlannerMemory
from trimtab.observe.collect import collect
from trimtab.observe.diagnosis import Finding, Level, diagnose
from trimtab.observe.kinds import Kind
from trimtab.observe.store import Store

KINDS = {
    "pools": Kind.ACCELERATOR_POOL,
    "nodes": Kind.NODE,
    "pods": Kind.POD,
    "children": Kind.DEPLOYMENT,
    "deployments": Kind.LLM_DEPLOYMENT,
}


def findings(**objects: list[dict[str, Any]]) -> list[Finding]:
    """Diagnose a cluster with these objects, by kind, and no Prometheus."""
    store = Store()
    for name, items in objects.items():
        store.replace(KINDS[name], items, "")
    view = store.view()
    config = OperatorConfig()
    snapshot = collect(view, None, now=bodies.NOW, memory=PlannerMemory(), config=config)
    return list(diagnose(view, snapshot))


def about(subject: str, found: list[Finding]) -> list[Finding]:
    return [each for each in found if each.subject.startswith(subject)]


def test_an_empty_cluster_says_what_is_missing_first() -> None:
    found = findings()
    assert [(each.level, each.subject) for each in found] == [
        (Level.FAILED, "AcceleratorPools"),
        (Level.WARNING, "LLMDeployments"),
    ]
    assert all(each.remedy for each in found)


def test_whatever_is_not_fine_has_a_remedy_and_what_is_fine_has_none() -> None:
    broken = bodies.llm_deployment("broken", spec={"model": {}})
    odd = bodies.llm_deployment("odd", spec={"model": {"name": "m"}, "policyRef": "gone"})
    found = findings(
        pools=[bodies.pool()],
        nodes=[bodies.node("a", labels={"pool": "h100"})],
        deployments=[bodies.llm_deployment(), broken, odd],
    )
    assert {each.level for each in found} == {Level.OK, Level.WARNING, Level.FAILED}
    assert all(bool(each.remedy) == (each.level is not Level.OK) for each in found)
    assert "AcceleratorPool h100" in [each.subject for each in found if each.level is Level.OK]
    [told] = [each for each in found if "cannot be understood" in each.message]
    assert "broken" in told.subject
    [told] = [each for each in found if "gone" in each.message]
    assert told.level is Level.FAILED


def test_a_pause_and_the_lack_of_a_source_are_told() -> None:
    paused = bodies.llm_deployment(annotations={"trimtab.dev/paused": "true"})
    messages = [each.message for each in about("LLMDeployment", findings(deployments=[paused]))]
    assert any("paused" in message for message in messages)
    assert any(message.startswith("NoMetricsSource") for message in messages)
