"""`trimtab explain`: why a deployment has its fleet, what lost, what would change the answer."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from trimtab.api.llmdeployment import LLMDeployment, LLMDeploymentStatus
from trimtab.cli import manifests, replay
from trimtab.cli.explained import render
from trimtab.cli.output import Output, echo, examples
from trimtab.config import PlannerConfig
from trimtab.errors import InvalidInput, Unavailable
from trimtab.models.plan import Decision
from trimtab.models.snapshot import Key, Snapshot
from trimtab.planner.plan import plan
from trimtab.planner.published import published_world
from trimtab.planner.whatif import WhatIf, whatif
from trimtab.planner.written import manifests_of

EPILOG = examples(
    "trimtab explain chat -n assistants",
    "kubectl trimtab explain chat -n assistants -o json",
    "trimtab explain chatbot -f examples/chatbot.yaml -f examples/pools.yaml",
    "kubectl get llmd,apool,spol,perf,budget -A -o yaml\n| trimtab explain chat -f -",
    "trimtab explain chat --record decisions.jsonl",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """Where what-if questions are asked."""

    snapshot: Snapshot
    config: PlannerConfig
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One deployment, its answer and its world."""

    status: Mapping[str, Any]
    world: _World | None
    """None where too little of the world is known to ask."""
    notes: tuple[str, ...] = ()


def explain(
    name: Annotated[str, typer.Argument(help="Name of the LLMDeployment.")],
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace", "-n", help="Its namespace. Default: your context's, or any in files."
        ),
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.TABLE,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", help="Read files or folders instead, or - for stdin."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Read a decision log instead; its newest record of the deployment."),
    ] = None,
    what_if: Annotated[
        bool, typer.Option(help="Ask what would change the answer; takes some seconds.")
    ] = True,
    kubeconfig: Annotated[
        str | None, typer.Option(help="Cluster to ask. Default: KUBECONFIG.")
    ] = None,
) -> None:
    """Say why a deployment has its fleet, and what would change it.

    The decision is the record in the status of the object. With --file, objects without a status
    are planned as trimtab plan does. What would change the answer is found by planning again, as
    if nothing of it ran yet, with one price, demand, target or limit moved.
    """
    if file and record is not None:
        raise InvalidInput("--record", "--file is given too", "Give one of them")
    if record is not None:
        found = _recorded(record, namespace, name)
    elif file:
        found = _written(manifests.documents(file), namespace, name)
    else:
        found = _live(kubeconfig, namespace, name, ask=what_if)
    changes: tuple[WhatIf, ...] = ()
    if what_if and found.world is not None:
        world = found.world
        with Console(stderr=True).status("asking what would change it…"):
            changes = whatif(world.snapshot, world.config, world.key)
    if output is not Output.TABLE:
        echo({**found.status, "whatIf": [asdict(change) for change in changes]}, output)
        return
    console = Console()
    render(name, _parsed(found.status, name), changes, console)
    for note in found.notes:
        console.print(Text(f"\n{note}", style="dim"))


def _live(kubeconfig: str | None, namespace: str | None, name: str, *, ask: bool) -> _Found:
    # The Kubernetes client takes a second to import, which no other command should pay.
    from trimtab.controller.reading import read_deployment, read_world

    document = read_deployment(kubeconfig, namespace, name)
    namespace = document["metadata"]["namespace"]
    status = document.get("status") or {}
    if not ask:
        return _Found(status=status, world=None)
    try:
        documents = read_world(kubeconfig)
    except Unavailable as error:
        note = f"What would change it was not asked, for that needs all objects of ours: {error}"
        return _Found(status=status, world=None, notes=(note,))
    return _written((("cluster", each) for each in documents), namespace, name)


def _written(
    documents: Iterable[tuple[str, dict[str, Any]]], namespace: str | None, name: str
) -> _Found:
    documents = list(documents)
    document = _named(documents, namespace, name)
    written, notes = manifests_of(documents)
    snapshot, assumed = published_world(written, time.time())
    key = Key(namespace=document["metadata"].get("namespace") or "default", name=name)
    world = _World(snapshot=snapshot, config=PlannerConfig(), key=key)
    if "status" not in document:
        decisions = plan(snapshot, world.config).decisions
        made = _status(world, next(decision for decision in decisions if decision.key == key))
        # Nothing runs: what is not Ready, and what came before, would say nothing.
        made |= {"conditions": [], "history": []}
        return _Found(status=made, world=world, notes=(*notes, *assumed))
    status = document["status"] or {}
    if snapshot.pools:
        return _Found(status=status, world=world)
    note = "What would change it was not asked: no AcceleratorPool is in the files"
    return _Found(status=status, world=None, notes=(note,))


def _named(
    documents: Iterable[tuple[str, dict[str, Any]]], namespace: str | None, name: str
) -> dict[str, Any]:
    there = []
    for _, document in documents:
        metadata = document.get("metadata") or {}
        place = metadata.get("namespace") or "default"
        if document.get("kind") == LLMDeployment.KIND:
            there.append(f"{metadata.get('name')} (-n {place})")
            if metadata.get("name") == name and namespace in (None, place):
                return document
    where = f" in namespace {namespace}" if namespace else ""
    remedy = f"In the files: {', '.join(there)}" if there else "Give the files that it is in"
    raise InvalidInput("NAME", f"there is no LLMDeployment {name}{where}", remedy)


def _recorded(path: Path, namespace: str | None, name: str) -> _Found:
    found: _Found | None = None
    for _, record in replay.records(path):
        for decision in record.plan.decisions:
            key = decision.key
            if key.name == name and namespace in (None, key.namespace):
                world = _World(snapshot=record.snapshot, config=record.config, key=key)
                found = _Found(status=_status(world, decision), world=world)
    if found is None:
        raise InvalidInput(
            "NAME", f"no record in {path} has an LLMDeployment {name}", "Name one that is in it"
        )
    return found


def _status(world: _World, decision: Decision) -> dict[str, Any]:
    """Return the status that the operator would publish first with this decision."""
    from trimtab.actuate.apply import Outcome
    from trimtab.actuate.status import Subject, publish

    snapshot = world.snapshot
    subject = Subject(
        state=next(state for state in snapshot.deployments if state.key == world.key),
        decision=decision,
        outcome=Outcome(),
        old={},
        now=snapshot.now,
        figures_at=0.0,
    )
    return publish(subject, {pool.name: pool for pool in snapshot.pools}).status


def _parsed(status: object, name: str) -> LLMDeploymentStatus:
    try:
        return LLMDeploymentStatus.model_validate(status)
    except ValidationError as error:
        raise InvalidInput(
            f"status of {name}", f"it is none that Trimtab writes ({error})", "Let Trimtab run"
        ) from error
