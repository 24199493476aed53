"""The main job, shown: real traffic rises and falls, and the fleet follows at the least money.

    python -m trimtab_e2e.demo

Real: etcd, kube-apiserver, scheduler, controller-manager, Prometheus, the operator under its
ServiceAccount. Fake: the GPU nodes (KWOK), and the engines (a simulated vLLM for each Ready pod,
which serves rows of the Azure conversation trace and exposes real-shaped metrics pages).
"""

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from trimtab_e2e.errors import ClusterError
from trimtab_e2e.nodes import make_nodes
from trimtab_e2e.selection import select_cluster
from trimtab_e2e.stack import REPOSITORY, Stack

EXAMPLE = REPOSITORY / "examples" / "demo"
NODES: tuple[tuple[str, int, int], ...] = (
    # shape, nodes, seconds from a scheduled pod to a Ready one: a cold start in small.
    ("a10g-eks", 1, 8),
    ("l40s-karpenter-spot", 1, 8),
    ("l40s-karpenter", 2, 8),
    ("l4-gke", 2, 8),
    ("h100-gke", 1, 12),
    ("h200-karpenter", 1, 12),
    ("mi300x-aks", 1, 12),
    ("tpu-v5e-gke", 1, 12),
)
RUN_S = 275.0
"""Length of the traffic; with start and end the whole stays below five minutes."""
LOOK_S = 2.0


@dataclass(slots=True)
class Course:
    """What was seen of one deployment while it ran."""

    replicas: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    """Replicas by pool, each time they changed."""
    cost: list[tuple[float, float]] = field(default_factory=list)
    """$/h of the status, each time it changed."""

    def note(self, at: float, replicas: dict[str, int], cost: float | None) -> None:
        """Add what is seen now if it differs from what was seen last."""
        if not self.replicas or self.replicas[-1][1] != replicas:
            self.replicas.append((at, replicas))
        if cost is not None and (not self.cost or self.cost[-1][1] != cost):
            self.cost.append((at, cost))

    @property
    def first(self) -> int:
        """Replicas of the first placement."""
        return next((sum(r.values()) for _, r in self.replicas if r), 0)

    @property
    def peak(self) -> int:
        """Most replicas."""
        return max((sum(r.values()) for _, r in self.replicas), default=0)

    @property
    def last(self) -> int:
        """Replicas at the end."""
        return sum(self.replicas[-1][1].values()) if self.replicas else 0

    @property
    def pools_at_peak(self) -> list[str]:
        """Pools that held replicas when there were most."""
        if not self.replicas:
            return []
        best = max(self.replicas, key=lambda entry: sum(entry[1].values()))[1]
        return sorted(pool for pool, count in best.items() if count)

    def mean_cost(self, end: float) -> float | None:
        """Return the mean $/h from the first price to `end`."""
        if not self.cost:
            return None
        ends = [at for at, _ in self.cost[1:]] + [end]
        spans = zip(self.cost, ends, strict=True)
        total = sum((until - at) * usd for (at, usd), until in spans)
        return total / max(end - self.cost[0][0], 1e-9)


class Demo:
    """One run: set up, watch, judge."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack = stack
        self._console = console
        self._courses: dict[str, Course] = {}
        self._shown = ""
        self._started = time.monotonic()

    def run(self) -> bool:
        """Show the main job and tell whether it was done."""
        self._set_up()
        names = [
            f"{d['metadata']['namespace']}/{d['metadata']['name']}"
            for d in yaml.safe_load_all((EXAMPLE / "deployments.yaml").read_text())
            if d["kind"] == "LLMDeployment"
        ]
        self._courses = {name: Course() for name in names}
        self._started = time.monotonic()
        while (now := time.monotonic() - self._started) < RUN_S:
            self._look(now)
            time.sleep(LOOK_S)
        return self._judge(time.monotonic() - self._started)

    def _set_up(self) -> None:
        say = self._console.print
        stack = self._stack
        say("[bold]1.[/] Fake GPU nodes, as the clouds label them")
        for shape, count, delay in NODES:
            stack.cluster.add_nodes(make_nodes(shape, count, start_delay_s=delay))
        say("[bold]2.[/] The operator, as its ServiceAccount: [cyan]trimtab run[/]")
        stack.start_operator({"--decision-log": str(self._log)})
        say(stack.cluster.kubectl("get", "apool").stdout, highlight=False)
        say("[bold]3.[/] Three models: [cyan]kubectl apply -f examples/demo/deployments.yaml[/]")
        say(stack.cluster.kubectl("apply", "-f", str(EXAMPLE / "deployments.yaml")).stdout.strip())
        say("[bold]4.[/] Traffic: the Azure conversation trace, rising and falling\n")
        stack.fleet.start()
        stack.fleet.load(yaml.safe_load((EXAMPLE / "load.yaml").read_text()))
        say("Look around meanwhile: in a second terminal, paste")
        say(f"{self._desk()}\n", highlight=False, markup=False)

    def _desk(self) -> str:
        """Return the line that gives a shell this cluster, its kubectl and this trimtab."""
        cluster = self._stack.cluster
        programs = [Path(cluster.kubectl_path).parent, Path(sys.executable).parent]
        path = ":".join(shlex.quote(str(folder)) for folder in programs)
        return f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))} PATH={path}:$PATH"

    def _look(self, now: float) -> None:
        cluster = self._stack.cluster
        for item in cluster.get("llmd", "-A")["items"]:
            meta, status = item["metadata"], item.get("status", {})
            name = f"{meta['namespace']}/{meta['name']}"
            cost = status.get("cost", {}).get("perHour")
            self._courses[name].note(
                now,
                self._stack.replicas(meta["namespace"], meta["name"]),
                None if cost is None else float(cost),
            )
        table = cluster.kubectl("get", "llmd", "-A").stdout
        # AGE always moves; nobody wants a new table for that.
        seen = "\n".join(line.rsplit(maxsplit=1)[0] for line in table.splitlines())
        if seen != self._shown:
            self._shown = seen
            rates = ", ".join(
                f"{name} {figures['last_minute']['arrived'] / min(60, figures['seconds'] or 1):.1f}"
                for name, figures in self._stack.fleet.summary()["deployments"].items()
            )
            self._console.print(f"[dim]t={now:.0f}s  arrivals/s in the last minute: {rates}[/]")
            self._console.print(f"[cyan]$ kubectl get llmd -A[/]\n{table}", highlight=False)

    @property
    def _log(self) -> Path:
        """Where the operator writes what it decided, and from what."""
        return self._stack.cluster.dir / "decisions.jsonl"

    def _trimtab(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trimtab", *arguments]
        env = {**os.environ, "KUBECONFIG": str(self._stack.cluster.kubeconfig), "COLUMNS": "110"}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    def _replayed(self) -> bool:
        """Return whether every decision comes out again, bit for bit, from what was logged."""
        self._stack.stop_operator()  # so that no line is half written
        again = self._trimtab("simulate", "--record", str(self._log))
        self._console.print("[cyan]$ trimtab simulate --record decisions.jsonl[/]")
        self._console.print(again.stdout + again.stderr, highlight=False, markup=False)
        return again.returncode == 0

    def _judge(self, end: float) -> bool:
        traffic = self._stack.fleet.summary()["deployments"]
        self._console.print("[cyan]$ trimtab explain chat -n assistants[/]")
        explained = self._trimtab("explain", "chat", "-n", "assistants")
        self._console.print(explained.stdout + explained.stderr, highlight=False, markup=False)
        self._console.print(_summary(self._courses, traffic, end))
        chat = self._courses["assistants/chat"]
        lost = sum(figures["lost"] for figures in traffic.values())
        checks = {
            "every deployment was placed": all(c.first for c in self._courses.values()),
            "chat was scaled up under load": chat.peak > chat.first,
            f"… across two pools at its peak ({', '.join(chat.pools_at_peak)})": (
                len(chat.pools_at_peak) >= 2
            ),
            "chat was scaled down after it": chat.last < chat.peak,
            "requests were served within the targets (90 % of all)": _attainment(traffic) >= 0.9,
            f"no request was lost ({lost})": lost == 0,
            "trimtab explain says why": explained.returncode == 0,
            "every decision was made again from the log, bit for bit": self._replayed(),
        }
        for what, done in checks.items():
            self._console.print(f"  {'[green]yes[/]' if done else '[red]NO [/]'}  {what}")
        return all(checks.values())


def _attainment(traffic: dict[str, Any]) -> float:
    settled = met = 0.0
    for figures in traffic.values():
        ended = sum(figures[k] for k in ("served", "lost", "rejected", "timed_out"))
        settled += ended
        met += ended * (figures["attainment"]["all"] or 0.0)
    return met / settled if settled else 0.0


def _summary(courses: dict[str, Course], traffic: dict[str, Any], end: float) -> Table:
    table = Table(title=f"What {end:.0f} s of traffic came to", title_justify="left")
    for heading in ("deployment", "replicas", "mean $/h"):
        table.add_column(heading)
    for heading in ("requests", "not served", "TTFT p95", "ITL p95", "within targets"):
        table.add_column(heading, justify="right")
    table.caption = "replicas: first placement / peak / end"
    table.caption_justify = "left"
    for name, course in courses.items():
        figures = traffic[name]
        cost = course.mean_cost(end)
        ttft, itl, share = figures["ttft_s"], figures["itl_s"], figures["attainment"]["all"]
        table.add_row(
            name,
            f"{course.first} / {course.peak} / {course.last}",
            "unknown" if cost is None else f"{cost:.2f}",
            str(figures["arrived"]),
            str(sum(figures[k] for k in ("lost", "rejected", "timed_out"))),
            _time(ttft["p95"]),
            _time(itl["p95"]),
            "unknown" if share is None else f"{share:.1%}",
        )
    return table


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def main() -> None:
    """Run the demo; the exit code tells whether the job was done."""
    console = Console(soft_wrap=True)
    console.width = max(console.width, 110)  # the tables need it, on a terminal or in a log
    console.print("[bold]Trimtab demo[/]: a real control plane, fake GPU nodes, real traffic.\n")
    try:
        with Stack(select_cluster("demo")) as stack:
            done = Demo(stack, console).run()
            if not done:
                kept = Path("demo-operator.log")
                kept.write_text(stack.operator.log.read_text())
                console.print(f"The operator's log is in {kept}.")
    except ClusterError as error:
        console.print(f"[red]{error}[/]")
        done = False
    console.print("\n[bold green]Done.[/]" if done else "\n[bold red]The job was not done.[/]")
    raise typer.Exit(0 if done else 1)


if __name__ == "__main__":
    typer.run(main)
