"""One run: a fleet, whoever decides about it, and what came of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import yaml

from bench.judge.cases import Case, Deployment
from bench.judge.engine import Request
from bench.judge.fleet import Fleet, Pool, Router
from trimtab.simulate.adapter import Scaler, Seen

TICK_S = 15.0
WARM_S = 600.0
"""Requests of before are not judged, and devices not paid."""
AFTER_S = 900.0
"""What is open at the end has so long to be answered."""
NAMESPACE = "judge"
_ROUTING = {Router.RANDOM: "Even"}
"""What a spec says of a router; the others deal requests out in turn."""

Fleets = Mapping[str, Mapping[str, int]]
"""Replicas by variant, of each deployment."""
Decide = Callable[[Fleet], Fleets]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run was like, without its first minutes."""

    attained: Mapping[str, float]
    """Share of requests in time, whole and answered, of each deployment."""
    cost: float
    """Dollars."""
    device_hours: Mapping[tuple[str, str], float]
    turns: int
    """How often the wanted replicas of a deployment went the other way."""
    most: int
    """Replicas wanted at once."""

    @property
    def worst(self) -> float:
        """Share in time of the deployment that did worst."""
        return min(self.attained.values())


def manifests(case: Case) -> str:
    """Return the objects that a user of such a fleet would write."""
    api = "trimtab.dev/v1alpha1"
    objects: list[dict[str, object]] = []
    for name, each in case.deployments.items():
        inputs, outputs, rps = each.work
        quantized = each.weights.quantization
        objects.append(
            {
                "apiVersion": api,
                "kind": "LLMDeployment",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {
                    "model": {
                        "name": each.weights.name,
                        **({"quantization": quantized} if quantized else {}),
                        **({"maxModelLen": each.longest} if each.longest else {}),
                    },
                    "routing": _ROUTING.get(case.router, "InTurn"),
                    "latency": {
                        "percentile": case.percentile,
                        "timeToFirstToken": f"{each.ttft_s * 1e3:.0f}ms",
                        "interTokenLatency": f"{each.itl_s * 1e3:.0f}ms",
                    },
                    "cost": {"capacityTypes": ["OnDemand", "Spot"]},
                    "scaling": {"minReplicas": 1, "maxReplicas": 64},
                    "workload": {
                        "inputTokens": inputs,
                        "outputTokens": outputs,
                        "requestsPerSecond": str(rps),
                    },
                },
            }
        )
    for name, pool in case.pools.items():
        spot = pool.spot_per_hour is not None
        objects.append(
            {
                "apiVersion": api,
                "kind": "AcceleratorPool",
                "metadata": {"name": name},
                "spec": {
                    "accelerator": pool.device.accelerator,
                    "resourceName": "nvidia.com/gpu",
                    "devicesPerNode": pool.device.per_node,
                    "nodeSelector": {"judge/pool": name},
                    "price": {"perDeviceHour": str(pool.per_hour)},
                    "capacity": {"maxDevices": pool.most},
                    "provisioningTime": f"{pool.node_s:.0f}s",
                    **({"capacityType": "Spot", "failureDomain": name} if spot else {}),
                },
            }
        )
    return yaml.safe_dump_all(objects)


class Planner:
    """Trimtab by its adapter: arrivals, requests in flight, states of replicas."""

    def __init__(self, case: Case, *, told: bool = False, say: bool = False) -> None:
        """Take a case; `told` adds lengths and hits to what is seen, `say` prints decisions."""
        self.scaler = Scaler.from_yaml(manifests(case))
        self._told, self._say = told, say
        self._before = dict.fromkeys(case.deployments, 0)

    def __call__(self, fleet: Fleet) -> Fleets:
        """Decide about the fleet as it is now."""
        seen = {f"{NAMESPACE}/{name}": self._seen(fleet, name) for name in self._before}
        found = self.scaler.decide_all(fleet.now, seen)
        answer = {name: found[f"{NAMESPACE}/{name}"] for name in self._before}
        if self._say:
            for (name, wanted), decision in zip(answer.items(), self.scaler.decisions, strict=True):
                states = [r.status for r in fleet.replicas.values() if r.service == name]
                print(  # noqa: T201
                    f"{fleet.now:6.0f} {name} open {fleet.in_flight(name):5d}"
                    f" came {seen[f'{NAMESPACE}/{name}'].arrivals / TICK_S:6.2f}/s"
                    f" ready {states.count('ready')} starting {states.count('starting')}"
                    f" short {states.count('unschedulable')} {wanted}"
                    f" {decision.why}: {decision.message[:160]}"
                )
        return answer

    def _seen(self, fleet: Fleet, name: str) -> Seen:
        before, now = self._before[name], fleet.arrived(name)
        self._before[name] = now
        came = fleet.services[name].requests[before:now] if self._told else ()
        return Seen(
            arrivals=now - before,
            in_flight=fleet.in_flight(name),
            replicas=[
                (each.name, each.status, each.since, str(each.variant))
                for each in fleet.replicas.values()
                if each.service == name
            ],
            input_tokens=sum(each.inputs for each in came) / len(came) if came else None,
            output_tokens=sum(each.outputs for each in came) / len(came) if came else None,
            prefix_hit=_hit([each for each in came if each.first_s <= fleet.now]),
        )

    def first(self) -> Fleets:
        """Return the fleet that it would begin with, before anything was seen."""
        names = list(self._before)
        nothing = Seen(arrivals=0, in_flight=0, replicas=[])
        found = self.scaler.decide_all(0.0, {f"{NAMESPACE}/{name}": nothing for name in names})
        return {name: found[f"{NAMESPACE}/{name}"] for name in names}


def play(case: Case, seed: int, decide: Decide, start: Fleets) -> Outcome:
    """Run a case from a fleet that is ready, and return what came of it."""
    services = {name: each.service(case.router, seed) for name, each in case.deployments.items()}
    fleet = Fleet(services, case.pools, seed)
    fleet.bill_from = WARM_S
    for name, wanted in start.items():
        fleet.begin_with(name, wanted)
    course: list[dict[str, int]] = []
    while fleet.now < case.lasts_s:
        found = decide(fleet)
        for name, wanted in found.items():
            fleet.apply(name, wanted)
        if fleet.now >= WARM_S:
            course.append({name: sum(wanted.values()) for name, wanted in found.items()})
        fleet.advance(fleet.now + TICK_S)
    fleet.close()
    fleet.advance(fleet.now + AFTER_S)
    return Outcome(
        attained={
            name: _share(case.deployments[name], services[name].requests) for name in services
        },
        cost=fleet.cost(),
        device_hours=fleet.device_hours,
        turns=sum(_turns([each[name] for each in course]) for name in services),
        most=max(sum(each.values()) for each in course),
    )


def _hit(begun: Sequence[Request]) -> float | None:
    tokens = sum(each.inputs for each in begun)
    return sum(each.cached for each in begun) / tokens if tokens else None


def undisturbed(pool: Pool) -> Pool:
    """Return a pool that nothing befalls."""
    return replace(pool, short=(), reclaims=())


def _share(deployment: Deployment, requests: Sequence[Request]) -> float:
    judged = [each for each in requests if each.at_s >= WARM_S]
    met = sum(each.in_time(deployment.ttft_s, deployment.itl_s) for each in judged)
    return met / len(judged)


def _turns(course: list[int]) -> int:
    signs = [1 if b > a else -1 for a, b in pairwise(course) if a != b]
    return sum(a != b for a, b in pairwise(signs))
