"""`trimtab status` and `trimtab top`: all deployments at a glance, once or again and again."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trimtab.api.conditions import ConditionStatus, ConditionType, Reason
from trimtab.api.llmdeployment import LLMDeployment, LLMDeploymentStatus
from trimtab.cli import manifests
from trimtab.cli.output import Output, echo, examples
from trimtab.errors import InvalidInput, Unavailable
from trimtab.models.load import LatencyTargets
from trimtab.models.policy import resolve
from trimtab.planner.written import manifests_of
from trimtab.units import format_duration, format_money, parse_duration

STATUS_EPILOG = examples(
    "trimtab status",
    "trimtab status -n assistants -o json",
    "kubectl get llmd,spol -A -o yaml | trimtab status -f -",
)
TOP_EPILOG = examples(
    "trimtab top",
    "trimtab top -n assistants --interval 5s",
    "trimtab top --once",
    "trimtab top -o json",
)

_WORST = (
    (ConditionType.STALLED, ConditionStatus.FALSE),
    (ConditionType.READY, ConditionStatus.TRUE),
    (ConditionType.CAPACITY_AVAILABLE, ConditionStatus.TRUE),
    (ConditionType.SLO_MET, ConditionStatus.TRUE),
    (ConditionType.METRICS_AVAILABLE, ConditionStatus.TRUE),
    (ConditionType.OPTIMIZED, ConditionStatus.TRUE),
)
"""What to look at first, and how it is when nothing is wrong."""

_READABLE = 30
"""Letters of a column in which a sentence can be read."""

_Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Only this namespace. Default: all.")
]
_File = Annotated[
    list[str] | None,
    typer.Option("--file", "-f", help="Read files or folders instead, or - for stdin."),
]
_Kubeconfig = Annotated[str | None, typer.Option(help="Cluster to ask. Default: KUBECONFIG.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One target, and what was measured of it; durations as status spells them."""

    name: str
    target: str
    measured: str | None
    """None when it is unknown."""
    met: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One deployment."""

    namespace: str
    name: str
    replicas: str
    """Ready and wanted, such as `4/5`."""
    variants: str
    usd_per_hour: float | None
    percentile: int | None
    """Of all latencies, in percent; None when the policy cannot be followed."""
    latencies: tuple[Latency, ...]
    slo: str | None
    """Share of requests within the targets."""
    condition: str
    """Reason of the condition to look at first."""
    healthy: bool
    why: str
    """What that condition says, or the last decision where nothing is wrong."""


def status(
    namespace: _Namespace = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.TABLE,
    file: _File = None,
    kubeconfig: _Kubeconfig = None,
) -> None:
    """Show every deployment in a line: replicas, price, state, why.

    It reads the LLMDeployments and ServingPolicies that you may read, and nothing else.
    """
    lines = _lines(_source(file, kubeconfig, namespace)(), namespace)
    if output is Output.TABLE:
        console = Console()
        console.print(_table(lines, console) if lines else _nothing(namespace))
    else:
        echo([_plain(asdict(line)) for line in lines], output)


def top(
    namespace: _Namespace = None,
    interval: Annotated[str, typer.Option(help="Time between two looks, such as 5s.")] = "2s",
    once: Annotated[bool, typer.Option("--once", help="Look once, print, and end.")] = False,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="Format; json and yaml look once.")
    ] = Output.TABLE,
    file: _File = None,
    kubeconfig: _Kubeconfig = None,
) -> None:
    """Watch all deployments, the dearest first; end with Ctrl-C.

    An API server that does not answer for a while is said below the last answer.
    """
    source = _source(file, kubeconfig, namespace)
    pause = max(0.2, parse_duration(interval, "--interval"))
    console = Console()
    if output is not Output.TABLE:
        echo([_plain(asdict(line)) for line in _dearest(_lines(source(), namespace))], output)
        return
    if once:
        console.print(_screen(_lines(source(), namespace), namespace, console))
        return
    shown: RenderableType = Text("looking …")
    with Live(shown, console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                shown = _screen(_lines(source(), namespace), namespace, console)
                live.update(shown, refresh=True)
            except Unavailable as error:
                live.update(Group(shown, Text(f"\n{error}", style="bold red")), refresh=True)
            except KeyboardInterrupt:
                return
            try:
                time.sleep(pause)
            except KeyboardInterrupt:
                return


def _source(
    files: list[str] | None, kubeconfig: str | None, namespace: str | None
) -> Callable[[], Iterable[tuple[str, dict[str, Any]]]]:
    if files:
        return lambda: manifests.documents(files)
    # The Kubernetes client takes a second to import, which no other command should pay.
    from trimtab.controller.reading import read_fleet

    return lambda: (("cluster", each) for each in read_fleet(kubeconfig, namespace))


def _lines(documents: Iterable[tuple[str, dict[str, Any]]], namespace: str | None) -> list[Line]:
    written, _ = manifests_of(documents)
    policies = {(p.metadata.namespace or "default", p.metadata.name): p for p in written.policies}
    lines = []
    for deployment in written.deployments:
        place = deployment.metadata.namespace or "default"
        if namespace not in (None, place):
            continue
        named = policies.get((place, deployment.spec.policy_ref or ""))
        try:
            targets = resolve(deployment.spec, named.spec if named else None).targets
        except InvalidInput:
            targets = None
        lines.append(_line(deployment, place, targets))
    return sorted(lines, key=lambda line: (line.namespace, line.name))


def _line(deployment: LLMDeployment, namespace: str, targets: LatencyTargets | None) -> Line:
    state = deployment.status or LLMDeploymentStatus()
    reason, healthy, why = _concern(state)
    summary, seen = state.summary, state.observed
    return Line(
        namespace=namespace,
        name=deployment.metadata.name,
        replicas=summary.replicas if summary else "",
        variants=summary.variants if summary else "",
        usd_per_hour=float(state.cost.per_hour) if state.cost else None,
        percentile=round(targets.percentile * 100) if targets else None,
        latencies=tuple(_latencies(state, targets)) if targets else (),
        slo=seen.slo if seen else None,
        condition=reason,
        healthy=healthy,
        why=why,
    )


def _latencies(state: LLMDeploymentStatus, targets: LatencyTargets) -> Iterable[Latency]:
    seen = state.observed
    for name, target, measured in (
        ("TTFT", targets.ttft_s, seen.time_to_first_token if seen else None),
        ("ITL", targets.itl_s, seen.inter_token_latency if seen else None),
        ("E2E", targets.e2e_s, seen.end_to_end if seen else None),
    ):
        if target is not None:
            yield Latency(
                name=name,
                target=format_duration(target) or "0s",
                measured=measured,
                met=None if measured is None else parse_duration(measured) <= target,
            )


def _concern(state: LLMDeploymentStatus) -> tuple[str, bool, str]:
    """Return reason, whether all is well, and message of what to look at first."""
    conditions = {condition.type: condition for condition in state.conditions}
    for kind, good in _WORST:
        found = conditions.get(kind)
        if found is not None and found.status != good:
            return found.reason, False, found.message
    ready = conditions.get(ConditionType.READY)
    said = state.decision.message if state.decision else ""
    return (ready.reason, True, said) if ready else ("Pending", False, "No decision yet")


def _screen(lines: list[Line], namespace: str | None, console: Console) -> Group:
    well = sum(line.healthy for line in lines)
    at = datetime.now().strftime("%H:%M:%S")
    noun = "deployment" if len(lines) == 1 else "deployments"
    head = f"trimtab top, {at}: {len(lines)} {noun}, {well} well, ${_total(lines)}/h\n"
    shown = _table(_dearest(lines), console) if lines else _nothing(namespace)
    return Group(Text(head, style="bold"), shown)


def _nothing(namespace: str | None) -> Text:
    where = f"in namespace {namespace}" if namespace else "anywhere"
    return Text(f"There is no LLMDeployment {where}")


def _dearest(lines: Iterable[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: -(line.usd_per_hour or 0.0))


def _table(lines: list[Line], console: Console) -> RenderableType:
    """Return the lines as a table; where WHY would be a strip of letters, it stands below."""
    table = _columns(lines, why=True)
    bare = _columns(lines, why=False)
    if console.width - console.measure(bare).maximum >= _READABLE:
        return table
    said = [Text(f"{line.namespace}/{line.name}: {line.why}") for line in lines if line.why]
    return Group(bare, Text(), *said)


def _columns(lines: list[Line], *, why: bool) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("NAMESPACE", "NAME", "READY"):
        table.add_column(title, no_wrap=True)
    table.add_column("FLEET", overflow="fold")
    table.add_column("$/H", justify="right", no_wrap=True)
    for title in ("LATENCY/TARGET", "SLO", "CONDITION"):
        table.add_column(title, no_wrap=True)
    if why:
        table.add_column("WHY", overflow="fold")
    for line in lines:
        usd = "" if line.usd_per_hour is None else format_money(line.usd_per_hour)
        table.add_row(
            *(Text(cell) for cell in (line.namespace, line.name, line.replicas, line.variants)),
            Text(usd),
            _measured(line),
            Text(line.slo or ""),
            Text(line.condition, style="green" if line.healthy else "yellow"),
            *([Text(line.why)] if why else []),
        )
    table.add_row("total", "", "", "", Text(_total(lines), style="bold"))
    return table


def _measured(line: Line) -> Text:
    text = Text()
    for number, latency in enumerate(line.latencies):
        style = {True: "green", False: "red", None: "dim"}[latency.met]
        text.append("\n" if number else "")
        text.append(f"{latency.name} p{line.percentile} {latency.measured or '?'}", style=style)
        text.append(f"/{latency.target}")
    return text


def _total(lines: Iterable[Line]) -> str:
    """Return the price of what shall run: a fleet that is only recommended costs nothing."""
    running = (line for line in lines if line.condition != Reason.RECOMMENDING)
    return format_money(sum(line.usd_per_hour or 0.0 for line in running))


def _plain(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line with lists for tuples, which YAML has no plain word for."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in line.items()}
