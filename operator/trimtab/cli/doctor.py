"""`trimtab doctor`: what keeps a fleet from being scaled, and what to do about it."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trimtab.cli.output import Output, echo, examples
from trimtab.config import OperatorConfig

EPILOG = examples(
    "trimtab doctor",
    "trimtab doctor --prometheus-url http://localhost:9090 -o json",
)

_DEFAULTS = OperatorConfig()
_MARKS = {"ok": ("ok", "green"), "warning": ("!", "yellow"), "failed": ("FAILED", "bold red")}


def doctor(
    prometheus_url: Annotated[
        str | None,
        typer.Option(help="Prometheus, as reached from here.", envvar="TRIMTAB_PROMETHEUS_URL"),
    ] = None,
    prometheus_auth_dir: Annotated[
        Path | None, typer.Option(help="Folder with token, or username and password; ca.crt.")
    ] = None,
    prometheus_headers: Annotated[
        list[str] | None,
        typer.Option("--prometheus-header", help="NAME=VALUE of a header, as the operator has it."),
    ] = None,
    prometheus_labels: Annotated[
        list[str] | None,
        typer.Option("--prometheus-label", help="NAME=VALUE of a label, as the operator has it."),
    ] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Where the operator runs.")
    ] = _DEFAULTS.namespace,
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.TABLE,
    kubeconfig: Annotated[
        str | None, typer.Option(help="Cluster to look at. Default: KUBECONFIG.")
    ] = None,
) -> None:
    """Check the cluster, the lease, Prometheus, pools and signals.

    It reads and changes nothing. The exit code is 1 when something keeps the fleet from being
    scaled, 0 otherwise.
    """
    # The Kubernetes client takes a second to import, which no other command should pay.
    from trimtab.controller.doctor import examine
    from trimtab.observe.access import Access, parse_header
    from trimtab.observe.prometheus import PrometheusSource
    from trimtab.observe.promql import parse_label

    source = None
    if prometheus_url is not None:
        headers = tuple(parse_header(each) for each in prometheus_headers or ())
        access = Access(folder=prometheus_auth_dir, extra=headers)
        source = PrometheusSource(prometheus_url, _DEFAULTS.prometheus_timeout_s, access)
    labels = tuple(parse_label(each) for each in prometheus_labels or ())
    config = OperatorConfig(
        namespace=namespace, prometheus_url=prometheus_url, prometheus_labels=labels
    )
    with Console(stderr=True).status("looking around…"):
        found = list(examine(kubeconfig, source, config, time.time()))
    documents = [asdict(each) | {"level": str(each.level)} for each in found]
    if output is not Output.TABLE:
        echo(documents, output)
    else:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for title in ("", "WHAT", "FOUND, AND WHAT TO DO"):
            table.add_column(title, overflow="fold", no_wrap=not title)
        for each in found:
            mark, style = _MARKS[each.level]
            text = Text(each.message)
            if each.remedy:
                text.append(f"\n-> {each.remedy}", style="bold")
            table.add_row(Text(mark, style=style), Text(each.subject), text)
        Console().print(table)
    if any(each.level == "failed" for each in found):
        raise typer.Exit(1)
