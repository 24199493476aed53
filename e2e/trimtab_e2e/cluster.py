"""The local cluster's front door: the names that tests import, and the command line.

    python -m trimtab_e2e.cluster up | down | status | kubectl

In a test:

    with select_cluster() as cluster:
        cluster.add_nodes(make_nodes(H100_GKE, 2, start_delay_s=30))
        cluster.kubectl("get", "nodes")
"""

import json
import subprocess
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from trimtab_e2e import registry
from trimtab_e2e.binaries import (
    HELM_VERSIONS,
    helm,
    lua,
    monitoring_definitions,
    print_progress,
)
from trimtab_e2e.errors import (
    BuildFailed,
    ClusterError,
    ClusterUnavailable,
    CommandFailed,
    StartFailed,
)
from trimtab_e2e.localcluster import LocalCluster
from trimtab_e2e.registry import Options, State
from trimtab_e2e.selection import attach, choose_provider, select_cluster

__all__ = [
    "BuildFailed",
    "ClusterError",
    "ClusterUnavailable",
    "CommandFailed",
    "LocalCluster",
    "Options",
    "StartFailed",
    "select_cluster",
]

_PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    help="A real Kubernetes control plane, fake GPU nodes, a real Prometheus; no Docker.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)


class Output(StrEnum):
    """How `status` shows its answer."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Name = Annotated[str, typer.Option("--name", "-n", help="Which cluster; several can run at once.")]


def examples(*lines: str) -> str:
    """Format the examples that end a command's help."""
    return "[bold]Examples[/bold]\n\n" + "\n\n".join(f"  {line}" for line in lines)


@app.command(
    epilog=examples(
        "python -m trimtab_e2e.cluster up",
        "export KUBECONFIG=$(python -m trimtab_e2e.cluster up --quiet)",
        "python -m trimtab_e2e.cluster up --name bare --no-kwok --no-prometheus",
    )
)
def up(
    name: Name = "default",
    kwok: Annotated[bool, typer.Option(help="Play the kubelets of fake nodes.")] = True,
    prometheus: Annotated[bool, typer.Option(help="Run a Prometheus.")] = True,
    scrape_interval: Annotated[int, typer.Option(help="Seconds between scrapes.", min=1)] = 5,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Use this cluster instead of making one.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the kubeconfig's path only.")
    ] = False,
) -> None:
    """Start a cluster and leave it running in the background.

    Takes seconds, but minutes the first time: its programs are built from their Go modules.

    A cluster of that name that runs already is left as it is.
    """
    state = _find(name)
    if state is not None:
        cluster = attach(state)
        if not _all_alive(cluster):
            raise ClusterError(f"cluster {name} is broken; clean up: {_command('down', name)}")
    else:
        options = Options(kwok=kwok, prometheus=prometheus, scrape_interval_s=scrape_interval)
        cluster = select_cluster(name, options, kubeconfig=kubeconfig, detached=True)
        with err.status(f"starting cluster {name}..."):
            cluster.start()
    if quiet:
        typer.echo(cluster.kubeconfig)
        return
    out.print(f"cluster [bold]{name}[/bold] is up; use it with", highlight=False)
    out.print(f"  export KUBECONFIG={cluster.kubeconfig}", highlight=False, soft_wrap=True)
    out.print(f"and end it with\n  {_command('down', name)}", highlight=False)


@app.command(epilog=examples("python -m trimtab_e2e.cluster build"))
def build(
    tools: Annotated[
        bool, typer.Option("--tools", help="And what tests of the chart need: Helm, Lua.")
    ] = False,
) -> None:
    """Build what a cluster needs and the cache lacks; start nothing."""
    provider = choose_provider(None, print_progress)
    if tools:
        for major in HELM_VERSIONS:
            helm(major)
        lua()
        monitoring_definitions()
    err.print(f"the cluster's programs are ready ({provider.name} control plane)", highlight=False)


@app.command(epilog=examples("python -m trimtab_e2e.cluster down --name bare"))
def down(
    name: Name = "default",
    everything: Annotated[
        bool, typer.Option("--all", help="Every cluster of this user, running or not.")
    ] = False,
) -> None:
    """Stop a cluster and remove all that it left on disk."""
    states = [state for state in registry.load_all() if everything or state.name == name]
    if not states:
        err.print("nothing to stop" if everything else f"there is no cluster {name}")
    for state in states:
        attach(state).stop()
        err.print(f"stopped {state.name} ({state.folder.name})", highlight=False)


@app.command(
    epilog=examples(
        "python -m trimtab_e2e.cluster status",
        "python -m trimtab_e2e.cluster status -o json",
    )
)
def status(
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.TABLE,
) -> None:
    """Show every cluster, its addresses, its programs and their memory."""
    clusters = [_describe(attach(state)) for state in registry.load_all()]
    if output is Output.JSON:
        typer.echo(json.dumps(clusters, indent=2))
    elif output is Output.YAML:
        typer.echo(yaml.safe_dump(clusters, sort_keys=False), nl=False)
    elif not clusters:
        err.print("no clusters")
    else:
        out.print(_table(clusters))


@app.command(
    context_settings=_PASS_THROUGH,
    epilog=examples(
        "python -m trimtab_e2e.cluster kubectl get nodes",
        "python -m trimtab_e2e.cluster kubectl --name bare -- get pods -n kube-system",
    ),
)
def kubectl(
    context: typer.Context, name: Annotated[str, typer.Option("--name")] = "default"
) -> None:
    """Run kubectl against a cluster; put its own options after a `--`."""
    state = _find(name)
    if state is None:
        raise ClusterError(f"there is no cluster {name}; start it: {_command('up', name)}")
    cluster = attach(state)
    program = cluster.kubectl_path
    command = [program, f"--kubeconfig={cluster.kubeconfig}", *context.args]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


def _find(name: str) -> State | None:
    return next((state for state in registry.load_all() if state.name == name), None)


def _all_alive(cluster: LocalCluster) -> bool:
    return all(child.alive() for child in cluster.processes)


def _describe(cluster: LocalCluster) -> dict[str, Any]:
    return {
        "name": cluster.name,
        "running": _all_alive(cluster),
        "provider": cluster.provider,
        "folder": str(cluster.dir),
        "kubeconfig": str(cluster.kubeconfig),
        "server": cluster.server,
        "prometheus": cluster.prometheus_url if cluster.options.prometheus else None,
        "fleetPort": cluster.fleet_port,
        "processes": [
            {
                "name": child.name,
                "pid": child.pid,
                "running": child.alive(),
                "rssMiB": round(child.rss_mib(), 1),
            }
            for child in cluster.processes
        ],
    }


def _table(clusters: list[dict[str, Any]]) -> Table:
    table = Table("NAME", "RUNNING", "SERVER", "PROMETHEUS", "MEMORY", box=None)
    for cluster in clusters:
        memory = sum(process["rssMiB"] for process in cluster["processes"])
        table.add_row(
            cluster["name"],
            "yes" if cluster["running"] else "[red]no[/red]",
            cluster["server"],
            cluster["prometheus"] or "-",
            f"{memory:.0f} MiB",
        )
    return table


def _command(verb: str, name: str) -> str:
    suffix = "" if name == "default" else f" --name {name}"
    return f"python -m trimtab_e2e.cluster {verb}{suffix}"


def main() -> None:
    """Run the command line; errors of ours are one message, not a traceback."""
    try:
        app()
    except ClusterError as error:
        err.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
