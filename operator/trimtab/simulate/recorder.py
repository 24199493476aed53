"""What a run looks like over time, and its score."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from trimtab.models.load import LatencyTargets
from trimtab.models.snapshot import DeploymentState, Key
from trimtab.simulate.bill import Bill
from trimtab.simulate.fleet import Fleet
from trimtab.simulate.front import Front
from trimtab.simulate.nodes import Room
from trimtab.simulate.policy import Choice, Variant
from trimtab.simulate.readings import SCRAPE_S, WINDOW_S
from trimtab.simulate.result import (
    DeploymentResult,
    DeploymentSeries,
    Marker,
    PoolHours,
    RunResult,
    Series,
)
from trimtab.simulate.sites import Site
from trimtab.simulate.world import World

MOST_STEPS = 2000
"""Of a series: a week has longer steps than an hour."""
_SCRAPES = round(WINDOW_S / SCRAPE_S) + 1
"""That bound the last window."""


@dataclass(slots=True, kw_only=True)
class Desk:
    """One deployment: its clients, its pages, and what is noted of it."""

    state: DeploymentState
    targets: LatencyTargets
    site: Site
    front: Front | None
    """The page of its gateway, where its spec names one."""
    arrived: list[int] = field(default_factory=lambda: [0])
    """At each scrape within the last window, of the whole run."""
    noted: int = 0
    """The same at the last step of the series."""
    errors: list[tuple[int, int]] = field(default_factory=list)
    """(errors, settled) at each scrape within the last window, from the beginning of the score."""
    before: int = 0
    """Requests in flight when the score began."""
    over_s: float = 0.0
    short_s: float = 0.0
    turns: int = 0
    demand: list[float] = field(default_factory=list)
    capacity: list[float] = field(default_factory=list)
    queue: list[int] = field(default_factory=list)
    ttft: list[float | None] = field(default_factory=list)
    itl: list[float | None] = field(default_factory=list)


class Recorder:
    """Notes one run."""

    def __init__(
        self,
        world: World,
        desks: Mapping[Key, Desk],
        fleet: Fleet,
        rooms: Mapping[str, Room],
        bill: Bill,
    ) -> None:
        """Start at 0."""
        self._world = world
        self._desks = desks
        self._fleet = fleet
        self._rooms = rooms
        self._bill = bill
        scrapes = world.scenario.duration_s / SCRAPE_S
        self._stride = max(1, ceil(scrapes / MOST_STEPS))
        self._scrapes = 0
        self._usd = 0.0
        self._at: list[float] = []
        self._usd_per_hour: list[float] = []
        self._devices: defaultdict[str, list[int]] = defaultdict(list)
        self._limits: defaultdict[str, list[int]] = defaultdict(list)
        self._wanted: defaultdict[Variant, dict[int, int]] = defaultdict(dict)
        self._ready: defaultdict[Variant, dict[int, int]] = defaultdict(dict)
        self._markers: list[Marker] = []
        self._reasons: dict[Key, str] = {}
        self._last: dict[Variant, int] = {}
        self._way: dict[Variant, int] = {}

    @property
    def step_s(self) -> float:
        """Return the step of the series."""
        return self._stride * SCRAPE_S

    def note(self, now: float, arrived: Mapping[Key, int]) -> None:
        """Note what a scrape shows; `arrived` counts requests from the beginning."""
        self._scrapes += 1
        step = self._scrapes % self._stride == 0
        for key, desk in self._desks.items():
            self._judge(key, desk, now, arrived[key], step=step)
        if step:
            self._step(now)

    def _judge(self, key: Key, desk: Desk, now: float, arrived: int, *, step: bool) -> None:
        desk.arrived = [*desk.arrived, arrived][-_SCRAPES:]
        rps = (arrived - desk.arrived[0]) / SCRAPE_S / (len(desk.arrived) - 1)
        ready = Counter(pod.variant for pod in self._fleet.ready(key))
        capacity = sum(n * self._world.kinds.of(v).rps for v, n in ready.items())
        total = desk.site.total
        errors = total.lost + total.rejected + total.timed_out
        desk.errors = [*desk.errors, (errors, total.settled)][-_SCRAPES:]
        ttft, itl = desk.site.clients(desk.targets.percentile)
        if _over(desk, ttft, itl):
            desk.over_s += SCRAPE_S
        if rps > capacity:
            desk.short_s += SCRAPE_S
        if step:
            desk.demand.append((arrived - desk.noted) / self.step_s)
            desk.noted = arrived
            desk.capacity.append(capacity)
            desk.queue.append(desk.site.held + round(desk.site.waiting))
            desk.ttft.append(ttft)
            desk.itl.append(itl)
            for variant, count in ready.items():
                self._ready[variant][len(self._at)] = count

    def _step(self, now: float) -> None:
        self._bill.settle(now)
        for variant, count in self._fleet.wanted.items():
            self._wanted[variant][len(self._at)] = count
        for name, room in self._rooms.items():
            self._devices[name].append(self._bill.devices[name])
            self._limits[name].append(room.limit)
        self._usd_per_hour.append((self._bill.usd - self._usd) / self.step_s * 3600.0)
        self._usd = self._bill.usd
        self._at.append(now)

    def decided(self, choice: Choice, now: float) -> None:
        """Note a decision, before it is applied: a marker where something changes."""
        for variant in {*self._last, *choice.replicas}:
            count = choice.replicas.get(variant, 0)
            change = count - self._last.get(variant, 0)
            if change:
                way = 1 if change > 0 else -1
                if self._way.get(variant, way) != way:
                    self._desks[variant.deployment].turns += 1
                self._way[variant] = way
            self._last[variant] = count
        for key in self._desks:
            reason = choice.reasons.get(key)
            why = reason.why if reason else ""
            mine = {v: n for v, n in choice.replicas.items() if v.deployment == key and n > 0}
            before = {v: n for v, n in self._fleet.wanted.items() if v.deployment == key}
            if mine != before or self._reasons.get(key) != why:
                self._reasons[key] = why
                self._markers.append(
                    Marker(
                        at_s=now,
                        deployment=str(key),
                        why=why,
                        message=reason.message if reason else "",
                        fleet={variant.label: count for variant, count in mine.items()},
                    )
                )

    def score_from_here(self, now: float) -> None:
        """Let the score begin: the warm-up is over."""
        self._bill.settle(now)
        self._bill.forget()
        self._fleet.lost_replicas = 0
        for desk in self._desks.values():
            desk.before = desk.site.in_flight
            desk.site.begin_score()
            desk.errors = []
            desk.over_s = desk.short_s = 0.0
            desk.turns = 0

    def result(self, policy: str, seed: int) -> RunResult:
        """Return the whole run, once everything has ended."""
        scenario = self._world.scenario
        duration_s = scenario.duration_s - scenario.warmup_s
        pools = {
            name: PoolHours(
                replica_hours=account.replica_s / 3600.0,
                device_hours=account.device_s / 3600.0,
                usd=account.usd,
                watt_hours=account.watt_hours,
            )
            for name, account in self._bill.pools.items()
        }
        deployments = {
            str(key): self._scored(key, desk, duration_s) for key, desk in self._desks.items()
        }
        return RunResult(
            scenario=scenario.name,
            policy=policy,
            seed=seed,
            duration_s=duration_s,
            warmup_s=scenario.warmup_s,
            cost_usd=sum(hours.usd for hours in pools.values()),
            deployments=deployments,
            pools=pools,
            decisions=tuple(self._markers),
            series=self._series(),
            direction_changes=sum(desk.turns for desk in self._desks.values()),
            device_hours=sum(hours.device_hours for hours in pools.values()),
            watt_hours=sum(hours.watt_hours for hours in pools.values()),
            lost_replicas=self._fleet.lost_replicas,
        )

    def _scored(self, key: Key, desk: Desk, duration_s: float) -> DeploymentResult:
        tally = desk.site.total
        prompts, answers = desk.site.served_tokens
        settled = tally.settled
        met = {"all": tally.met, "ttft": tally.met_ttft, "itl": tally.met_itl, "e2e": tally.met_e2e}
        return DeploymentResult(
            tally=tally,
            in_flight_before=desk.before,
            percentile=desk.targets.percentile,
            attainment={name: n / settled if settled else None for name, n in met.items()},
            goodput_rps=tally.met / duration_s,
            input_tokens=prompts,
            output_tokens=answers,
            over_target_s=desk.over_s,
            short_s=desk.short_s,
            usd=self._bill.usd_of[key],
            direction_changes=desk.turns,
        )

    def _series(self) -> Series:
        steps = len(self._at)

        def rows(
            found: Mapping[Variant, Mapping[int, int]], key: Key
        ) -> dict[str, tuple[int, ...]]:
            return {
                variant.label: tuple(counts.get(step, 0) for step in range(steps))
                for variant, counts in found.items()
                if variant.deployment == key
            }

        return Series(
            step_s=self.step_s,
            at_s=tuple(self._at),
            usd_per_hour=tuple(self._usd_per_hour),
            devices={name: tuple(values) for name, values in self._devices.items()},
            room={name: tuple(values) for name, values in self._limits.items()},
            deployments={
                str(key): DeploymentSeries(
                    demand_rps=tuple(desk.demand),
                    capacity_rps=tuple(desk.capacity),
                    wanted=rows(self._wanted, key),
                    ready=rows(self._ready, key),
                    queue=tuple(desk.queue),
                    ttft_s=tuple(desk.ttft),
                    itl_s=tuple(desk.itl),
                )
                for key, desk in self._desks.items()
            },
        )


def _over(desk: Desk, ttft: float | None, itl: float | None) -> bool:
    """Tell whether the last window is over a target: by a latency, or by its errors alone."""
    targets = desk.targets
    errors = desk.errors[-1][0] - desk.errors[0][0]
    settled = desk.errors[-1][1] - desk.errors[0][1]
    if errors > (1.0 - targets.percentile) * settled:
        return True
    return any(
        value is not None and target is not None and value > target
        for value, target in ((ttft, targets.ttft_s), (itl, targets.itl_s))
    )
