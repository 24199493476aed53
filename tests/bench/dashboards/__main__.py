"""The chart's dashboard with real data: a simulated hour, a real Prometheus, every panel's query.

`python -m bench.dashboards SCENARIO OUT.svg` in tests/ runs Trimtab's policy on a scenario, exports
at every decision what the operator exports, hands that to a Prometheus of the local cluster's
binaries, asks it every query of the dashboard and draws the answers. A panel whose queries nothing
answers is named on standard error; the exit code is then 1, unless a simulation cannot answer it.
"""

import json
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.core import Metric

from bench.dashboards.draw import picture
from bench.dashboards.remote import Labels, prometheus, push, query_range
from trimtab.controller.cycle import _sample  # the operator's own figures of a decision
from trimtab.simulate.experiment import Experiment
from trimtab.simulate.policy import Choice, FleetView
from trimtab.simulate.run import run
from trimtab.simulate.scenario import load_scenario
from trimtab.simulate.trimtab_policy import TrimtabPolicy, snapshot_at
from trimtab.simulate.world import world_of
from trimtab.telemetry.names import Metrics, PoolSample

DASHBOARD = Path(__file__).parents[3] / "charts/trimtab/dashboards/fleet.json"
CACHE = Path.home() / ".cache/trimtab/bin"
STEP_S = 15.0
PORT = 19099
LIVE_ONLY = {"Writes", "Age of what is known"}
"""Panels of what a simulation does not do: it writes to no API server and watches nothing."""
VARIABLES = {"$namespace": ".*", "$deployment": ".*", "$__rate_interval": "1m"}

Series = dict[Labels, list[tuple[float, float]]]


@dataclass(slots=True, kw_only=True)
class Exporting:
    """Trimtab's policy, which exports after each decision what the operator would."""

    inner: TrimtabPolicy
    began: float
    """Unix seconds of the start of the run."""
    name: str = "trimtab"
    metrics: Metrics = field(default_factory=Metrics)
    series: Series = field(default_factory=lambda: defaultdict(list))

    @property
    def interval_s(self) -> float:
        """Return the operator's period."""
        return self.inner.interval_s

    @property
    def debounce_s(self) -> float | None:
        """Return how long the operator gathers events."""
        return self.inner.debounce_s

    def decide(self, view: FleetView) -> Choice:
        """Return the decision of the policy, and keep what would be scraped after it."""
        loads = {each.key: each.load() for each in view.deployments}
        snapshot = snapshot_at(self.inner.base, view, loads, self.inner.memory)
        clock = time.process_time()  # of this process alone: others may be busy, too
        choice = self.inner.decide(view)
        self.metrics.cycle_seconds.labels(phase="plan").observe(time.process_time() - clock)
        self.metrics.cycles.labels(outcome="ok").inc()
        self.metrics.leader.set(1)
        states = {state.key: state for state in snapshot.deployments}
        decisions = self.inner.decisions
        for decision in decisions:
            if decision.changed:
                self.metrics.decisions.labels(why=decision.why.value).inc()
        promised: dict[str, int] = defaultdict(int)
        for decision in decisions:
            for target in decision.targets:
                promised[target.pool] += target.replicas * target.parallelism.devices
        self.metrics.fleet.show(
            [_sample(states[decision.key], decision) for decision in decisions],
            [
                PoolSample(
                    name=pool.name, total=pool.devices, promised=promised[pool.name],
                    foreign=pool.foreign_devices,
                )
                for pool in snapshot.pools
            ],
        )  # fmt: skip
        for family in self.metrics.registry.collect():
            self._keep(family, view.now)
        return choice

    def _keep(self, family: Metric, now: float) -> None:
        for sample in family.samples:
            labels = {**sample.labels, "__name__": sample.name, "instance": "simulated"}
            key = tuple(sorted(labels.items()))
            at = self.began + now
            if not self.series[key] or self.series[key][-1][0] < at:
                self.series[key].append((at, sample.value))


def main() -> int:
    """Write the picture and return the exit code."""
    scenario = load_scenario(Path(sys.argv[1]))
    out = Path(sys.argv[2])
    experiment = Experiment(scenario=scenario)
    traffic = experiment.traffic(0)
    world = world_of(scenario, traffic)
    began = time.time() - scenario.duration_s - 60.0
    policy = Exporting(inner=TrimtabPolicy(base=world.snapshot), began=began)
    run(scenario, traffic, policy, 0)
    binary = next(CACHE.glob("prometheus-*/prometheus"), None)
    if binary is None:
        sys.stderr.write("No Prometheus is built: make cluster-binaries\n")
        return 2
    dashboard = json.loads(DASHBOARD.read_text())
    at = [began + STEP_S * number for number in range(1, int(scenario.duration_s / STEP_S))]
    expressions = {
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        prometheus(binary, Path(folder), PORT) as url,
    ):
        push(url, policy.series)
        answers = {
            each: query_range(url, _filled(each), at[0], at[-1], STEP_S) for each in expressions
        }
    out.write_text(picture(dashboard, answers, at), "utf-8")
    empty = [
        panel["title"]
        for panel in dashboard["panels"]
        if panel.get("targets") and not any(answers[t["expr"]] for t in panel["targets"])
    ]
    for title in empty:
        sys.stderr.write(f"no data: {title}\n")
    return 1 if set(empty) - LIVE_ONLY else 0


def _filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


if __name__ == "__main__":
    sys.exit(main())
