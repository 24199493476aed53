"""A cluster of pods in a few lines, to drive plan -> apply -> clock without any server."""

from dataclasses import dataclass, field, replace
from typing import Any

from builders import NOW, catalogue_pool, planned
from trimtab.api.conditions import ConditionType
from trimtab.api.performanceprofile import PerformanceProfileSpec
from trimtab.config import PlannerConfig
from trimtab.models.capacity import Pool
from trimtab.models.hardware import Parallelism
from trimtab.models.load import ObservedLoad
from trimtab.models.memory import PlannerMemory
from trimtab.models.plan import Decision, Plan
from trimtab.models.signals import Fresh
from trimtab.models.snapshot import Budget, DeploymentState, Key, Profile, Snapshot, VariantState
from trimtab.planner.plan import plan


def fresh_load(rps: float, **over: Any) -> ObservedLoad:
    """Every signal fresh, no queue, latencies far below any target; else half are late."""
    late = over.keys() & {"ttft_s", "itl_s", "e2e_s"}
    figures = {
        "arrival_rps": rps,
        "input_tokens": 1000.0,
        "output_tokens": 250.0,
        "waiting": 0.0,
        "running": rps,
        "kv_utilization": 0.3,
        "ttft_s": 0.1,
        "itl_s": 0.01,
        "e2e_s": 2.0,
        "slo_attainment": 0.5 if late else 1.0,
    }
    values: dict[str, Any] = {name: Fresh(value=value) for name, value in figures.items()}
    return ObservedLoad(**(values | over))


def idle_load() -> ObservedLoad:
    """Replicas that report fresh zeros: lengths and latencies are missing without traffic."""
    zero = Fresh(value=0.0)
    return ObservedLoad(arrival_rps=zero, waiting=zero, running=zero, kv_utilization=zero)


def profiles() -> tuple[Profile, ...]:
    """Llama 3.1 8B on an H100 at the targets of `planned`, so that counts in tests are facts.

    16, 24, 28 and 32 requests/s on 1, 2, 4 and 8 devices, where the measured inter-token latency
    is at its target. With headroom and the doubt of a measurement one device is given 13.6.
    """
    return tuple(
        Profile(
            name=f"h100-tp{tensor}",
            spec=PerformanceProfileSpec.model_validate(
                {
                    "model": "meta-llama/Llama-3.1-8B-Instruct",
                    "accelerator": "nvidia-h100-sxm",
                    "tensorParallel": tensor,
                    "points": [
                        {
                            "inputTokens": 1000,
                            "outputTokens": 250,
                            "requestsPerSecond": f"{rate * share}",
                            "timeToFirstToken": "100ms",
                            "interTokenLatency": itl,
                        }
                        for share, itl in ((0.5, "20ms"), (1.5, "80ms"))
                    ],
                }
            ),
        )
        for tensor, rate in ((1, 16), (2, 24), (4, 28), (8, 32))
    )


@dataclass(slots=True)
class Pod:
    """One pod: it waits for devices, then starts, then is Ready, and at last ends."""

    created: float
    scheduled: bool = False
    ready_at: float = float("inf")
    gone_at: float | None = None
    """When one that was told to end gives its devices back."""
    taken_at: float = float("inf")
    """When its node is gone, where that is announced."""

    @property
    def stays(self) -> bool:
        return self.gone_at is None


@dataclass
class FleetWorld:
    """Pools, deployments and pods; `tick` plans, applies and lets time pass."""

    pools: list[Pool]
    deployments: dict[Key, DeploymentState]
    config: PlannerConfig = field(default_factory=PlannerConfig)
    budgets: tuple[Budget, ...] = ()
    profiles: tuple[Profile, ...] = field(default_factory=profiles)
    start_s: float = 30.0
    """Time from a scheduled pod to a Ready one."""
    drain_s: float = 0.0
    """Time that a pod takes to end, in which it holds its devices and serves what it has."""
    now: float = NOW
    memory: PlannerMemory = field(default_factory=PlannerMemory)
    stock: dict[str, int] = field(default_factory=dict)
    """Devices that a pool really has, where that is less than it says."""
    pods: dict[Key, dict[tuple[str, Parallelism], list[Pod]]] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            now=self.now,
            deployments=tuple(
                replace(state, variants=self._variants(key))
                for key, state in sorted(self.deployments.items())
            ),
            pools=tuple(self.pools),
            profiles=self.profiles,
            budgets=self.budgets,
            memory=self.memory,
        )

    def tick(self, seconds: float = 15.0) -> Plan:
        """Plan, apply, and let `seconds` pass."""
        result = plan(self.snapshot(), self.config)
        self.apply(result)
        self.pass_time(seconds)
        return result

    def run(self, seconds: float, every: float = 15.0) -> Plan:
        """Tick for so long; return the last plan."""
        result = self.tick(every)
        for _ in range(int(seconds / every)):
            result = self.tick(every)
        return result

    def apply(self, result: Plan) -> None:
        """Do as the actuator does: scale every child; one with no replica and no pod goes."""
        self.memory = result.memory
        for decision in result.decisions:
            if not decision.write:
                continue
            mine = self.pods.setdefault(decision.key, {})
            for target in decision.targets:
                pods = mine.setdefault((target.pool, target.parallelism), [])
                # What is not Ready goes first, as a ReplicaSet does it.
                pods.sort(key=lambda pod: (pod.ready_at > self.now, pod.created))
                staying = [pod for pod in pods if pod.stays]
                for pod in staying[target.replicas :]:
                    pod.gone_at = self.now + (self.drain_s if pod.scheduled else 0.0)
                pods += [Pod(created=self.now) for _ in range(target.replicas - len(staying))]
        self._schedule()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self._take_back()
        self._schedule()

    def set_load(self, load: ObservedLoad, name: str | None = None) -> None:
        """Let every deployment, or the one called `name`, report `load`."""
        for key, state in self.deployments.items():
            if name is None or key.name == name:
                self.deployments[key] = replace(state, load=load)

    def replicas(self, name: str | None = None, pool: str | None = None) -> int:
        return sum(
            pod.stays
            for key, mine in self.pods.items()
            for (where, _), pods in mine.items()
            for pod in pods
            if (name is None or key.name == name) and (pool is None or where == pool)
        )

    def ready(self, pool: str | None = None) -> int:
        return sum(
            pod.stays and pod.ready_at <= self.now
            for mine in self.pods.values()
            for (where, _), pods in mine.items()
            for pod in pods
            if pool is None or where == pool
        )

    def devices(self, pool: str) -> int:
        return sum(
            len(pods) * parallelism.devices
            for mine in self.pods.values()
            for (where, parallelism), pods in mine.items()
            if where == pool
        )

    def lose_pool(self, name: str) -> None:
        """The nodes vanish: pods there wait again."""
        self.stock[name] = 0
        for mine in self.pods.values():
            for (where, _), pods in mine.items():
                if where == name:
                    pods[:] = [Pod(created=self.now) for pod in pods if pod.stays]

    def announce(self, name: str, replicas: int, in_s: float) -> None:
        """Nodes of the pool with up to so many replicas are to be taken back after a while."""
        pods = [
            pod
            for mine in self.pods.values()
            for (where, _), pods in mine.items()
            for pod in pods
            if where == name and pod.scheduled
        ]
        for pod in pods[:replicas]:
            pod.taken_at = min(pod.taken_at, self.now + in_s)

    def _take_back(self) -> None:
        """What stood on a node that is gone waits anew, as a ReplicaSet makes it."""
        for mine in self.pods.values():
            for pods in mine.values():
                kept = [pod for pod in pods if pod.taken_at > self.now]
                lost = sum(pod.stays for pod in pods) - sum(pod.stays for pod in kept)
                pods[:] = [*kept, *(Pod(created=self.now) for _ in range(lost))]

    def _stock(self, pool: Pool) -> int:
        return min(pool.usable_devices, self.stock.get(pool.name, pool.usable_devices))

    def _schedule(self) -> None:
        for key, mine in self.pods.items():
            left = {
                where: [pod for pod in pods if pod.gone_at is None or pod.gone_at > self.now]
                for where, pods in mine.items()
            }
            self.pods[key] = {where: pods for where, pods in left.items() if pods}
        free = {pool.name: self._stock(pool) for pool in self.pools}
        everything = [
            (pod, where, parallelism.devices)
            for key in sorted(self.pods)
            for (where, parallelism), pods in sorted(
                self.pods[key].items(), key=lambda item: (item[0][0], item[0][1].devices)
            )
            for pod in pods
        ]
        for pod, where, devices in everything:
            if pod.scheduled:
                free[where] = free.get(where, 0) - devices
        for pod, where, devices in everything:
            if not pod.scheduled and free.get(where, 0) >= devices:
                free[where] -= devices
                pod.scheduled, pod.ready_at = True, self.now + self.start_s

    def _variants(self, key: Key) -> tuple[VariantState, ...]:
        return tuple(
            self._variant(where, parallelism, pods)
            for (where, parallelism), pods in sorted(
                self.pods.get(key, {}).items(), key=lambda item: (item[0][0], item[0][1].devices)
            )
        )

    def _variant(self, where: str, parallelism: Parallelism, pods: list[Pod]) -> VariantState:
        staying = [pod for pod in pods if pod.stays]
        ready = [pod.ready_at for pod in staying if pod.ready_at <= self.now]
        waiting = sorted(pod.created for pod in staying if not pod.scheduled)
        # One that waits for what an ending one gives back is not stuck, as in observe/collect.py.
        del waiting[max(0, len(waiting) - (len(pods) - len(staying))) :]
        return VariantState(
            pool=where,
            parallelism=parallelism,
            replicas=len(staying),
            ready=len(ready),
            pods=len(pods),
            unschedulable=len(waiting),
            unschedulable_s=self.now - min(waiting) if waiting else 0.0,
            noticed=sum(pod.taken_at < float("inf") for pod in pods),
            going=sum(pod.taken_at < float("inf") for pod in staying),
            youngest_ready_s=self.now - max(ready) if ready else None,
        )


def decision_for(result: Plan, name: str) -> Decision:
    """Return the decision for the deployment called `name`."""
    return next(decision for decision in result.decisions if decision.key.name == name)


CHEAP = catalogue_pool("cheap", "nvidia-h100-sxm", 2.0)
DEAR = catalogue_pool("dear", "nvidia-h100-sxm", 6.0)


def world(*states: DeploymentState, pools: Any = (CHEAP, DEAR), **over: Any) -> FleetWorld:
    """The given deployments, or the one called chat, over a cheap and a dear pool."""
    states = states or (planned(),)
    return FleetWorld(pools=list(pools), deployments={s.key: s for s in states}, **over)


def running(rps: float = 40.0, seconds: float = 600.0, **over: Any) -> FleetWorld:
    """A deployment that has served `rps` for longer than its window."""
    there = world(**over)
    there.set_load(fresh_load(rps))
    there.run(seconds)
    return there


def usable_rps(there: FleetWorld) -> float:
    """What one replica of the chosen candidate is given."""
    decision = plan(there.snapshot(), there.config).decisions[0]
    capacity = decision.candidates[0].capacity
    assert capacity is not None
    return capacity.max_rps * (1.0 - there.config.headroom - capacity.uncertainty)


def condition(decision: Decision, kind: ConditionType) -> tuple[bool | None, str]:
    """Status and reason of one fact."""
    return next((f.status, f.reason) for f in decision.facts if f.type == kind)
