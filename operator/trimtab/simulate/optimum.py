"""What somebody who knows the future would pay: a schedule that was really run, and a bound.

The schedule is the integer programme of `schedule`, run as any other policy and corrected by what
came of it, round for round: where requests waited too long it gets more, elsewhere less. Fixed
fleets are among what is tried, and so is what other policies did: whoever knows the future can do
the same at the same moments. It is the cheapest that was found and attains what is asked for, not
the cheapest that there is; that one lies between it and the bound, which is proven (see `bound`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trimtab.models.snapshot import Key
from trimtab.simulate.asked import at_least_prices, horizon_of, services_of
from trimtab.simulate.bound import Bound, lower_bound
from trimtab.simulate.demands import Horizon
from trimtab.simulate.fixed import FixedFleets
from trimtab.simulate.kinds import variants_of
from trimtab.simulate.policy import FixedPolicy, Policy, Variant
from trimtab.simulate.result import RunResult
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.schedule import SchedulePolicy, Task, planned, task_of
from trimtab.simulate.traffic import Floats, Traffic
from trimtab.simulate.world import Chances, world_of

Run = Callable[[Scenario, Mapping[Key, Traffic], Policy, int], RunResult]

SHARES = (0.99, 0.95, 0.90)
"""Attainments for which a bound is worked out; a result is held against the next one below it."""
ATTAINS = 0.99
"""What the clairvoyant schedule attains for every deployment."""
NAME = "clairvoyant"
BISECTIONS = 4
LESS = (0.95, 0.9, 0.75, 0.5)
"""Goals of a deployment for which no fixed fleet attains that."""
ROUNDS = 6
"""Runs of the search, those of the bisection included."""
LEAST_SLOT_S = 15.0
MOST_SLOTS = 160
_DRAWS = 200
_LATE = 0.9
"""Quantile of the times to Ready that the schedule allows for."""
_MORE, _LESS = 1.25, 0.92


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """What was tried with knowledge of the future."""

    runs: tuple[RunResult, ...]
    """Of schedules from scarce to ample; never empty."""
    goals: Mapping[Key, float]
    """What each deployment was to attain."""
    others: tuple[RunResult, ...] = ()
    """Of policies that met the same requests and luck, which can be done again knowingly."""

    def beside(self, results: Sequence[RunResult]) -> "Optimum":
        """Return the same with what other policies did."""
        return replace(self, others=tuple(replace(each, policy=NAME) for each in results))

    @property
    def result(self) -> RunResult | None:
        """The cheapest run in which every deployment attains its goal, None where none does."""
        able = [run for run in (*self.runs, *self.others) if self._shortfall(run) <= 0.0]
        return min(able, key=lambda run: run.cost_usd, default=None)

    @property
    def closest(self) -> RunResult:
        """The same; where none attains, the run that comes closest."""
        return self.result or min(
            (*self.runs, *self.others), key=lambda run: (self._shortfall(run), run.cost_usd)
        )

    def usd_for(self, result: RunResult) -> float | None:
        """Return the cost of the cheapest run that attains as much as `result`, or the goals.

        None where no run does, and where `result` attains less than anything that was tried.
        """
        for key in self.goals:
            if _attained(result, key) < min(_attained(run, key) for run in self.runs):
                return None
        able = [
            run.cost_usd
            for run in (*self.runs, *self.others)
            if all(
                _attained(run, key) >= min(goal, _attained(result, key))
                for key, goal in self.goals.items()
            )
        ]
        return min(able, default=None)

    def _shortfall(self, run: RunResult) -> float:
        return max((goal - _attained(run, key) for key, goal in self.goals.items()), default=0.0)


class Clairvoyant:
    """Hindsight about one scenario and seed."""

    def __init__(
        self, scenario: Scenario, traffic: Mapping[Key, Traffic], seed: int, run: Run
    ) -> None:
        """Take what every policy meets; `run` is `trimtab.simulate.run.run`."""
        self._scenario, self._traffic, self._seed, self._run = scenario, traffic, seed, run
        self._world = world_of(scenario, traffic)
        self._services = services_of(self._world, seed)
        self._horizon = horizon_of(self._world, seed)
        self._cheapest = at_least_prices(self._services, self._world)
        self.fixed = FixedFleets(scenario, traffic, seed, run)
        self._bounds: dict[float, Bound | None] = {}

    def bound(self, result: RunResult) -> Bound | None:
        """Return what no policy undercuts that attains as much as `result`, nearly.

        For each deployment at least the next of `SHARES` below what `result` attained. None where
        it attained less than the least of them.
        """
        missed = _missed(result)
        for share in SHARES:
            if all(missed[key] <= most for key, most in self._misses(share).items()):
                return self.bound_at(share)
        return None

    def bound_at(self, share: float) -> Bound | None:
        """Return the bound of policies that serve `share` of each deployment's requests in time."""
        if share not in self._bounds:
            misses = self._misses(share)
            self._bounds[share] = lower_bound(self._cheapest, self._horizon, misses)
        return self._bounds[share]

    def exact_bound(self, result: RunResult) -> Bound | None:
        """Return the bound of policies that miss as few requests of each deployment as `result`."""
        return lower_bound(self._cheapest, self._horizon, _missed(result))

    def _misses(self, share: float) -> dict[Key, int]:
        return {
            service.key: int((1.0 - share) * len(service.at_s) + 1e-9) for service in self._services
        }

    def optimum(self) -> Optimum:
        """Return schedules that let each deployment attain `ATTAINS`, or what it can.

        The search begins with the best fixed fleet and gives each deployment, of the same variants,
        what its work needs over time, times a factor that is bisected, then corrected slot by slot.
        """
        goals: dict[Key, float] = {}
        counts: dict[Variant, int] = {}
        for service in self._services:
            for share in (ATTAINS, *LESS):
                fleet = self.fixed.cheapest(service.key, share)
                goals[service.key] = share
                if fleet is not None:
                    counts |= {v: math.ceil(n - 1e-9) for v, n in fleet.replicas.items()}
                    break
        edges = self._edges()
        tasks = self._tasks(edges, counts)
        search = _Search(goals, {task.key: _factors(task, counts, edges) for task in tasks})
        whole = Horizon(start_s=0.0, end_s=float(edges[-1]), room=self._horizon.room)
        leads = {pool.name: self._lead(pool.name) for pool in self._world.snapshot.pools}
        fixed = FixedPolicy(replicas=counts, name=NAME)
        runs = [self._run(self._scenario, self._traffic, fixed, self._seed)]
        known: dict[tuple[tuple[str, str, bytes], ...], RunResult] = {}
        for number in range(ROUNDS if tasks else 0):
            needs = search.factors() if number < BISECTIONS else search.corrections()
            schedule = planned(tasks, needs, whole, edges)
            made = tuple(
                (v.label, str(v.deployment), n.tobytes()) for v, n in schedule.counts.items()
            )
            if made not in known:
                policy = SchedulePolicy(schedule=schedule, leads_s=leads, name=NAME)
                known[made] = self._run(self._scenario, self._traffic, policy, self._seed)
            runs.append(known[made])
            late = {task.key: self._late(runs[-1], task.key, edges) for task in tasks}
            search.tell(runs[-1], needs, late)
        return Optimum(runs=tuple(runs), goals=goals)

    def _edges(self) -> Floats:
        """Return the edges of the schedule's slots, over the whole run."""
        end = self._scenario.duration_s
        slots = max(1, min(MOST_SLOTS, int(end / LEAST_SLOT_S)))
        return np.linspace(0.0, end, slots + 1)

    def _tasks(self, edges: Floats, counts: Mapping[Variant, int]) -> list[Task]:
        """Return the tasks, the most important first, each with the variants of `counts`."""
        states = {state.key: state for state in self._world.states}
        tasks = [
            task_of(service, variants_of(self._world.snapshot, states[service.key]), counts, edges)
            for service in services_of(self._world, self._seed, start_s=0.0)
        ]

        def rank(task: Task) -> tuple[int, Key]:
            policy = states[task.key].policy
            return -(policy.priority if policy else 0), task.key

        return sorted(tasks, key=rank)

    def _lead(self, pool: str) -> float:
        """Return how long before it is needed a replica is asked for."""
        chances = Chances(self._world, self._seed)
        rules = next(
            chances.pool_rules(each) for each in self._world.snapshot.pools if each.name == pool
        )
        kinds = [
            self._world.kinds.of(variant)
            for state in self._world.states
            for variant in variants_of(self._world.snapshot, state)
            if variant.pool == pool
        ]
        if not kinds:
            return 0.0
        slowest = max(kinds, key=lambda kind: kind.weight_bytes)
        waits = [rules.provisioning() if rules.grows else 0.0 for _ in range(_DRAWS)]
        loads = [chances.load_s(pool, slowest) for _ in range(_DRAWS)]
        return float(np.quantile(np.add(waits, loads), _LATE))

    def _late(self, result: RunResult, key: Key, edges: Floats) -> Floats:
        """Return for each slot whether requests waited too long in it, shape (slots,), 0 or 1."""
        targets = next(s.policy.targets for s in self._world.states if s.key == key and s.policy)
        part, series = result.deployments[str(key)], result.series.deployments[str(key)]
        at = np.array(result.series.at_s)
        late = _over(series.ttft_s, targets.ttft_s) | (np.array(series.queue) > 0) & (
            np.array(series.demand_rps) > np.array(series.capacity_rps)
        )
        if (part.attainment["itl"] or 0.0) < (part.attainment["ttft"] or 0.0):
            late = late | _over(series.itl_s, targets.itl_s)
        # The page looks back over a minute: what is seen at its end may have begun before.
        slot = np.clip(np.searchsorted(edges, at, side="left") - 1, 0, len(edges) - 2)
        bad = np.zeros(len(edges) - 1)
        np.maximum.at(bad, slot[late], 1.0)
        earlier = max(1, round(60.0 / float(edges[1] - edges[0])))
        for _ in range(earlier):
            bad = np.maximum(bad, np.append(bad[1:], 0.0))
        return bad


def _missed(result: RunResult) -> dict[Key, int]:
    return {
        Key(namespace=namespace, name=name): part.tally.settled - part.tally.met
        for (namespace, _, name), part in (
            (text.partition("/"), part) for text, part in result.deployments.items()
        )
    }


def _attained(result: RunResult, key: Key) -> float:
    attained = result.deployments[str(key)].attainment["all"]
    return 1.0 if attained is None else attained


def _over(values: Sequence[float | None], target: float | None) -> NDArray[np.bool_]:
    return np.array([value is not None and target is not None and value > target
                     for value in values], dtype=bool)  # fmt: skip


def _factors(task: Task, counts: Mapping[Variant, int], edges: Floats) -> tuple[float, float]:
    """Return factors on the least work: one that is too little, and one as large as the fleet."""
    seconds = sum(
        counts[variant] * (edges[-1] - edges[0]) / max(float(load.sum()), 1e-9)
        for variant, load in zip(task.variants, task.loads, strict=True)
    )
    return 1.0, max(float(seconds), 1.5)


class _Search:
    """What to give each deployment next, by what came of what it got."""

    def __init__(
        self, goals: Mapping[Key, float], factors: Mapping[Key, tuple[float, float]]
    ) -> None:
        """Begin between two factors for each deployment."""
        self._goals = goals
        self._low = {key: low for key, (low, _) in factors.items()}
        self._high = {key: high for key, (_, high) in factors.items()}
        self._next: dict[Key, Floats | float] = dict(self._high)

    def factors(self) -> dict[Key, Floats | float]:
        """Return the geometric middle for each."""
        return {key: math.sqrt(self._low[key] * self._high[key]) for key in self._low}

    def corrections(self) -> dict[Key, Floats | float]:
        """Return a little less where all went well, more where it did not and must."""
        return self._next

    def tell(
        self, result: RunResult, needs: Mapping[Key, Floats | float], late: Mapping[Key, Floats]
    ) -> None:
        """Learn from a run with `needs`, and from where requests were `late` in it."""
        for key, need in needs.items():
            enough = _attained(result, key) >= self._goals[key]
            if isinstance(need, float):
                (self._high if enough else self._low)[key] = need
            if enough or not isinstance(need, float):
                self._next[key] = _corrected(need, late[key], enough=enough)


def _corrected(need: Floats | float, late: Floats, *, enough: bool) -> Floats:
    whole = np.broadcast_to(np.asarray(need, dtype=float), np.shape(late))
    if enough:
        return np.where(late > 0, whole, whole * _LESS)
    if not late.any():
        return whole * _MORE
    return np.where(late > 0, whole * _MORE, whole)
