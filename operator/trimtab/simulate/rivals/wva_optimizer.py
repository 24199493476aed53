"""llm-d's model-based optimizer: replicas by its queueing model, then one accelerator per model.

Source: llm-d-workload-variant-autoscaler b08b1c77, pkg/core, pkg/solver and pkg/manager, as
research/rival-rules.md and peers.md (1.1) state it. The batch shrinks with the answers
(max_batch * at_tokens / out), the queue is 10 batches long, replicas = ceil(rate / rate at the
targets). The value of a candidate is its change of cost, plus 10 % of both costs when the
accelerator changes; the least value wins. Later versions removed it as dead code.

Assumed, from the vectors of the limited solver: servers are taken by priority, then by how much
their next candidate would cost more; what does not fit tries its next candidate. With best effort
(PriorityExhaustive) a server that nothing fits gets the replicas that do fit of its best candidate
with room. The vectors have one such server, so the two round-robin policies, which they do not
tell apart, are left out.

Assumed of the rival: it decides every 60 s on the rate of the last minute.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trimtab.simulate.rivals.base import Decision, Observation, Source, Work
from trimtab.simulate.rivals.wva_queue import Queue, Targets, ThreeParameters, Unreachable

QUEUE_TO_BATCH = 10
SWITCH_PENALTY = 0.1
INTERVAL_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One model on one accelerator, as the administrator measured it."""

    accelerator: str
    cost: float
    """Of one replica, in any unit of money by time."""
    devices: int
    """Accelerators that one replica takes."""
    alpha: float
    beta: float
    gamma: float
    """Of `ThreeParameters`, in ms."""
    max_batch: int
    at_tokens: int
    """Mean answer for which `max_batch` was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """What a server runs on now."""

    accelerator: str | None = None
    replicas: int = 0
    cost: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One deployment of a model: its load, its targets and where it may run."""

    name: str
    priority: int
    """1 is the most important."""
    profiles: tuple[Profile, ...]
    targets: Targets
    rps: float
    input_tokens: float
    output_tokens: float
    minimum: int
    current: Current = Current()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One accelerator for one server, with the replicas that it takes."""

    accelerator: str
    batch: int
    replicas: int
    cost: float
    value: float
    itl_ms: float
    ttft_ms: float
    """Wait and prefill, without the decode that the queueing model counts in."""
    max_rps: float
    """Rate that one replica serves within the targets."""
    devices: int
    """Accelerators of one replica."""


def candidates(server: Server) -> list[Candidate]:
    """Return the accelerators on which the targets can be met, the least value first."""
    found = [_candidate(server, profile) for profile in server.profiles]
    able = [candidate for candidate in found if candidate is not None]
    return sorted(able, key=lambda candidate: (candidate.value, candidate.accelerator))


def _candidate(server: Server, profile: Profile) -> Candidate | None:
    if server.rps <= 0 or server.output_tokens <= 0:
        return _idle(server, profile)
    batch = max(1, int(profile.max_batch * profile.at_tokens / server.output_tokens))
    service = ThreeParameters(
        alpha=profile.alpha,
        beta=profile.beta,
        gamma=profile.gamma,
        input_tokens=server.input_tokens,
        output_tokens=server.output_tokens,
    )
    queue = Queue(service, batch, batch * QUEUE_TO_BATCH)
    sized = queue.size(server.targets)
    if isinstance(sized, Unreachable):
        return None
    most = sized.state.throughput_rps
    replicas = max(server.minimum, math.ceil(server.rps / most))
    state = queue.at(server.rps / replicas)
    return Candidate(
        accelerator=profile.accelerator,
        batch=batch,
        replicas=replicas,
        cost=profile.cost * replicas,
        value=_value(server.current, profile.accelerator, replicas, profile.cost * replicas),
        itl_ms=state.itl_ms,
        ttft_ms=state.wait_ms + state.prefill_ms,
        max_rps=most,
        devices=profile.devices,
    )


def _idle(server: Server, profile: Profile) -> Candidate:
    """Return the candidate without load; its latencies are those of one token alone."""
    replicas, some = server.minimum, server.minimum > 0
    alone = profile.alpha + profile.beta
    full = profile.alpha + profile.beta * profile.max_batch
    cost = profile.cost * replicas
    return Candidate(
        accelerator=profile.accelerator,
        batch=profile.max_batch if some else 0,
        replicas=replicas,
        cost=cost,
        value=_value(server.current, profile.accelerator, replicas, cost) if some else 0.0,
        itl_ms=alone if some else 0.0,
        ttft_ms=alone if some else 0.0,
        max_rps=1e3 * profile.max_batch / (alone + full) if some else 0.0,
        devices=profile.devices,
    )


def _value(current: Current, accelerator: str, replicas: int, cost: float) -> float:
    if accelerator == current.accelerator:
        return 0.0 if replicas == current.replicas else cost - current.cost
    return SWITCH_PENALTY * (current.cost + cost) + cost - current.cost


def unlimited(servers: Sequence[Server]) -> dict[str, Candidate]:
    """Return the best candidate of each server that has one."""
    ranked = {server.name: candidates(server) for server in servers}
    return {name: options[0] for name, options in ranked.items() if options}


def limited(
    servers: Sequence[Server], available: Mapping[str, int], *, best_effort: bool
) -> dict[str, Candidate]:
    """Return a candidate for each server within `available` accelerators of each type."""
    left = dict(available)
    queue = [(server, candidates(server)) for server in servers]
    queue = [entry for entry in queue if entry[1]]
    chosen: dict[str, Candidate] = {}
    unserved: list[Server] = []
    while queue:
        server, options = queue.pop(queue.index(min(queue, key=_urgency)))
        best, rest = options[0], options[1:]
        if best.replicas * best.devices <= left.get(best.accelerator, 0):
            left[best.accelerator] -= best.replicas * best.devices
            chosen[server.name] = best
        elif rest:
            queue.append((server, rest))
        else:
            unserved.append(server)
    if best_effort:
        for server in sorted(unserved, key=lambda server: server.priority):
            for option in candidates(server):
                fit = min(option.replicas, left.get(option.accelerator, 0) // option.devices)
                if fit > 0:
                    left[option.accelerator] -= fit * option.devices
                    chosen[server.name] = _cut(option, fit)
                    break
    return chosen


def _urgency(entry: tuple[Server, list[Candidate]]) -> tuple[int, float, float]:
    server, options = entry
    regret = options[1].value - options[0].value if len(options) > 1 else math.inf
    return server.priority, -regret, -options[0].value


def _cut(option: Candidate, replicas: int) -> Candidate:
    share = replicas / option.replicas
    return replace(option, replicas=replicas, cost=option.cost * share, value=option.value * share)


@dataclass(frozen=True, slots=True, kw_only=True)
class WvaOptimizer:
    """One model on the pools of the deployment, each an accelerator with a profile."""

    profiles: tuple[Profile, ...]
    """The accelerators are the pools' names."""
    targets: Targets
    limited: bool = False
    """Whether the pools' capacity binds, with best effort; else it is ignored."""
    name: str = "wva-optimizer"
    interval_s: float = INTERVAL_S

    def start(self, observation: Observation, now: float) -> None:
        """Remember nothing: the last minute is the time since the last call."""

    def decide(self, observation: Observation, memory: None, now: float) -> Decision[None]:
        """Return the replicas of the chosen pool, and none on the others.

        Without metrics, or where no pool can meet the targets, nothing changes: it is silent then.
        """
        if observation.metrics is not Source.ANSWERS:
            return Decision(replicas={}, memory=None, reason="no metrics")
        seen = Work().plus(observation.arrivals)
        server = Server(
            name="server",
            priority=1,
            profiles=self.profiles,
            targets=self.targets,
            rps=seen.requests / self.interval_s,
            input_tokens=seen.mean_input,
            output_tokens=seen.mean_output,
            minimum=observation.minimum,
            current=_current(observation),
        )
        if self.limited:
            room = {
                profile.accelerator: profile.devices
                * observation.pool(profile.accelerator).capacity
                for profile in self.profiles
            }
            chosen = limited([server], room, best_effort=True)
        else:
            chosen = unlimited([server])
        if server.name not in chosen:
            return Decision(replicas={}, memory=None, reason="no pool meets the targets")
        best = chosen[server.name]
        replicas = {pool.name: 0 for pool in observation.pools}
        replicas[best.accelerator] = observation.clamp(best.replicas)
        return Decision(
            replicas=replicas, memory=None, reason=f"{best.max_rps:.2f} requests/s each"
        )


def _current(observation: Observation) -> Current:
    """Return the pool with most replicas as the one accelerator that is in use."""
    pool = max(observation.pools, key=lambda pool: pool.desired)
    if pool.desired == 0:
        return Current()
    return Current(accelerator=pool.name, replicas=pool.desired, cost=pool.price * pool.desired)
