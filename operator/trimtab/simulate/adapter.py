"""Trimtab's planner for somebody else's simulator or load balancer, by what any of them can count.

It is told how many requests arrived, how many are in flight and in what state each replica is, and
answers with the replicas that shall be there: the operator's own `plan`, which remembers between
calls. Nothing of Trimtab's own fleet simulator takes part.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trimtab.config import OperatorConfig
from trimtab.errors import InvalidInput
from trimtab.models.capacity import Pool
from trimtab.models.load import ObservedLoad, TokenShape
from trimtab.models.memory import PlannerMemory
from trimtab.models.performance import Infeasible, ReplicaCapacity
from trimtab.models.plan import Decision
from trimtab.models.signals import Fresh, Missing, Signal
from trimtab.models.snapshot import DeploymentState, Key
from trimtab.performance.capacity import replica_of
from trimtab.planner.offline import Manifests, snapshot_of
from trimtab.planner.plan import plan
from trimtab.planner.query import engine_settings
from trimtab.planner.written import documents_in, manifests_of
from trimtab.simulate.collected import collected, serves, written
from trimtab.simulate.kinds import Kinds, variants_of
from trimtab.simulate.little import WATCHED_S, Lesson, Span, lesson_of, served_in
from trimtab.simulate.policy import ReplicaView, Variant
from trimtab.simulate.statuses import Replicas, ReplicaStatus, Status, began_by, pod_of

EPOCH = 1_790_000_000.0
"""Unix seconds that stand for 0 on the caller's clock: the planner reads hours and days off it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was counted of one deployment."""

    arrivals: int
    """Requests that came since the last call, rejected ones too."""
    in_flight: int
    """Requests that came and are not answered now, waiting ones too."""
    replicas: Replicas
    """All that exist, whatever their state."""
    input_tokens: float | None = None
    """Mean prompt of those that arrived or were answered; None when nobody knows."""
    output_tokens: float | None = None
    """Mean answer of those that were answered."""
    prefix_hit: float | None = None
    """Share of prompt tokens that were found in the prefix cache, 0 to 1."""

    def __post_init__(self) -> None:
        """Refuse counts and lengths that cannot be.

        Raises:
            InvalidInput: One is negative or no number.
        """
        for name in ("arrivals", "in_flight", "input_tokens", "output_tokens"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InvalidInput(name, f"{value} is no count", "Give 0 or more")
        if self.prefix_hit is not None and not 0 <= self.prefix_hit <= 1:
            raise InvalidInput("prefix_hit", f"{self.prefix_hit} is no share", "Give 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Count:
    """Requests between two calls."""

    begin: float
    end: float
    seen: Seen


@dataclass(slots=True, kw_only=True)
class _Past:
    """What is remembered of one deployment."""

    until: float | None = None
    """When it was last counted."""
    counts: deque[_Count] = field(default_factory=deque)
    """Within the window, oldest first."""
    in_flight: int = 0
    """When it was last counted."""
    serving: tuple[Variant, int] | None = None
    """What served then, and how many; None where nothing did, or more than those held requests."""
    spans: deque[Span] = field(default_factory=deque)
    """Times in which the same replicas served, of the last minutes, oldest first."""
    answers: float | None = None
    """Mean answer that the time of a request tells, in tokens, where nobody counts it."""
    wanted: dict[Variant, int] = field(default_factory=dict)
    replicas: dict[str, ReplicaStatus] = field(default_factory=dict)
    """Those that are there, by name."""
    runs_on: dict[str, Variant] = field(default_factory=dict)
    began: dict[str, dict[Status, float]] = field(default_factory=dict)
    """When each of them came into each state."""


class Scaler:
    """Decides for all deployments of some manifests. One object serves one run: it remembers.

    Call it whenever something was counted: every 15 s as the operator does, or as seems fit. The
    first call of a deployment starts the counting: how long its arrivals took nobody knows, so the
    workload of the manifest stands for them.
    """

    def __init__(self, manifests: Manifests, config: OperatorConfig | None = None) -> None:
        """Take the objects as they would be on the cluster.

        Raises:
            InvalidInput: One of them cannot be understood.
        """
        self._config = config or OperatorConfig()
        base, _ = snapshot_of(manifests, EPOCH)
        # Who has which node nobody says; that one is missing, a replica's state does.
        self._base = replace(base, pools=tuple(_at_hand(pool) for pool in base.pools))
        self._kinds = Kinds(base.deployments, base.pools, base.profiles, {})
        self._pasts = {state.key: _Past() for state in base.deployments}
        self._now: float | None = None
        self.memory = PlannerMemory()
        """What the last call left for the next: what was learnt, windows, rests of short pools."""
        self.variants: Mapping[Key, Mapping[str, Variant]] = {
            state.key: {each.label: each for each in variants_of(base, state)}
            for state in base.deployments
        }
        """What each deployment can run on, by the names that answers have."""
        self.snapshot = self._base
        """What the last call was decided from."""
        self.decisions: tuple[Decision, ...] = ()
        """The last ones in full: reasons, demand, candidates."""

    @classmethod
    def from_yaml(cls, text: str, config: OperatorConfig | None = None) -> "Scaler":
        """Return a scaler for the objects in some YAML.

        Raises:
            InvalidInput: It is no YAML, or an object in it is none that the API admits.
        """
        return cls(manifests_of(documents_in([("manifests", text)]))[0], config)

    def decide(
        self, now: float, *, arrivals: int, in_flight: int, replicas: Replicas
    ) -> dict[str, int]:
        """Return the replicas that the only deployment shall have, by variant (`POOL/tpN`).

        Args:
            now: Seconds on a clock that never goes back and may begin anywhere, such as at 0.
            arrivals: Requests since the last call.
            in_flight: Requests without a whole answer, waiting ones too.
            replicas: (name, status, since when) of each replica that exists.

        Raises:
            InvalidInput: There are several deployments, or something in it is wrong.
        """
        if len(self._pasts) != 1:
            raise InvalidInput(
                "manifests", f"they hold {len(self._pasts)} deployments", "Call decide_all"
            )
        (key,) = self._pasts
        seen = Seen(arrivals=arrivals, in_flight=in_flight, replicas=replicas)
        return self.decide_all(now, {str(key): seen})[str(key)]

    def decide_all(self, now: float, seen: Mapping[str, Seen]) -> dict[str, dict[str, int]]:
        """Return the replicas of each deployment (`NAMESPACE/NAME`) by variant; zeros left out.

        A deployment that `seen` leaves out is one whose counts are away: nothing of it is removed.

        Raises:
            InvalidInput: The clock goes back, or a deployment, status or variant is unknown.
        """
        if self._now is not None and now < self._now:
            raise InvalidInput("now", f"{now:g} is before the last call's {self._now:g}", "Go on")
        names = [str(key) for key in self._pasts]
        for name in seen:
            if name not in names:
                raise InvalidInput(
                    "deployment", f"there is no {name}", f"Name one of {', '.join(names)}"
                )
        states = tuple(
            self._state(state, seen.get(str(state.key)), now) for state in self._base.deployments
        )
        self._now = now
        self.snapshot = replace(self._base, now=EPOCH + now, deployments=states, memory=self.memory)
        found = plan(self.snapshot, self._config.planner)
        self.memory, self.decisions = found.memory, found.decisions
        answer = {}
        for decision in found.decisions:
            past = self._pasts[decision.key]
            if decision.write:
                past.wanted = written(decision)
            answer[str(decision.key)] = {v.label: n for v, n in past.wanted.items() if n > 0}
        return answer

    def _state(self, state: DeploymentState, seen: Seen | None, now: float) -> DeploymentState:
        past = self._pasts[state.key]
        if seen is not None:
            replicas = [ReplicaStatus(*each) for each in seen.replicas]
            past.runs_on = {each.name: self._variant(state.key, each) for each in replicas}
            past.replicas = {each.name: each for each in replicas}
            past.began = began_by(past.began, replicas)
        pods = [
            pod_of(past.runs_on[each.name], each, past.began[each.name], now)
            for each in past.replicas.values()
        ]
        load = (
            ObservedLoad(arrival_rps=Missing(why="nobody counted"))
            if seen is None
            else self._load(state, seen, pods, now)
        )
        return collected(replace(state, load=load), past.wanted, pods)

    def _variant(self, key: Key, replica: ReplicaStatus) -> Variant:
        """Return what a replica runs on: as it says, or the only thing that it can."""
        past, known = self._pasts[key], self.variants[key]
        if replica.variant in known:
            return known[replica.variant]
        if replica.variant:
            fitting = [each for each in known.values() if each.pool == replica.variant]
        elif replica.name in past.runs_on:
            fitting = [past.runs_on[replica.name]]
        else:
            asked = [each for each in known.values() if past.wanted.get(each, 0) > 0]
            fitting = asked or list(known.values())
        if len(fitting) != 1:
            raise InvalidInput(
                f"replica {replica.name}",
                f"what it runs on is not clear from {replica.variant!r}",
                f"Name one of {', '.join(known) or 'none: nothing fits the deployment'}",
            )
        return fitting[0]

    def _load(
        self, state: DeploymentState, seen: Seen, pods: Sequence[ReplicaView], now: float
    ) -> ObservedLoad:
        past, window_s = self._pasts[state.key], self._config.rate_window_s
        begin, past.until = past.until, now
        _watch(past, seen, pods, begin, now)
        if begin is None:
            return ObservedLoad(arrival_rps=Missing(why="nothing was counted yet"))
        past.counts.append(_Count(begin=begin, end=now, seen=seen))
        while past.counts[0].end <= now - window_s and len(past.counts) > 1:
            past.counts.popleft()
        inputs = _mean((each.seen.arrivals, each.seen.input_tokens) for each in past.counts)
        outputs = _mean((each.seen.arrivals, each.seen.output_tokens) for each in past.counts)
        hits = _mean((each.seen.arrivals, each.seen.prefix_hit) for each in past.counts)
        counted = isinstance(outputs, Fresh)
        if not counted and past.answers is not None and state.policy is not None:
            outputs = Fresh(value=past.answers)
            if not isinstance(inputs, Fresh):
                inputs = Fresh(value=state.policy.shape.input_tokens)
        if (
            isinstance(inputs, Fresh)
            and not isinstance(outputs, Fresh)
            and state.policy is not None
        ):
            # Before the first answer, too: without prompts as they are nothing may seem to fit.
            outputs = Fresh(value=state.policy.shape.output_tokens)
        shape = _shape(state, inputs, outputs, hits)
        lesson = None
        if shape is not None and state.policy is not None:
            guess = None if counted else state.policy.shape.output_tokens
            lesson = self._lesson(past, shape, guess)
        if lesson is not None and not counted:
            past.answers = lesson.output_tokens
        room = 0.0 if shape is None else self._room(state, pods, shape)
        reading = None if lesson is None else lesson.reading
        return ObservedLoad(
            arrival_rps=_rate(past.counts, now, window_s),
            input_tokens=inputs,
            output_tokens=outputs,
            prefix_hit=hits,
            waiting=Fresh(value=max(0.0, seen.in_flight - room)),
            running=Fresh(value=min(float(seen.in_flight), room)),
            window_s=window_s,
            variants=() if reading is None else (reading,),
        )

    def _lesson(self, past: _Past, shape: TokenShape, guess: float | None) -> Lesson | None:
        """Return what is learnt of speed and lengths, where only one variant served of late."""
        if past.serving is None:
            return None
        variant, _ = past.serving
        served = served_in([span for span in past.spans if span.variant == variant])
        replica = replica_of(replace(self._kinds.request(variant), shape=shape))
        if served is None or isinstance(replica, Infeasible):
            return None
        lengths = shape.input_tokens, shape.output_tokens
        return lesson_of(variant, served, lengths, replica, guess=guess)

    def _room(
        self, state: DeploymentState, pods: Sequence[ReplicaView], shape: TokenShape
    ) -> float:
        """Return the requests that all serving replicas have in flight at their full capacity.

        Queues are not counted: what is in flight beyond that waits for something.
        """
        serving = [pod.variant for pod in pods if serves(pod)]
        return sum(
            self._concurrency(state, variant, shape) * serving.count(variant)
            for variant in set(serving)
        )

    def _concurrency(self, state: DeploymentState, variant: Variant, shape: TokenShape) -> float:
        most = float(engine_settings(state.spec).max_num_seqs)
        found = self._kinds.capacity(variant, shape)
        return min(most, found.at_max.concurrency) if isinstance(found, ReplicaCapacity) else most


def _watch(
    past: _Past, seen: Seen, pods: Sequence[ReplicaView], begin: float | None, now: float
) -> None:
    """Keep the time since `begin` where it shows how fast replicas of one variant are."""
    before, past.serving = past.serving, _serving(pods)
    if begin is not None and now > begin and before is not None and before == past.serving:
        variant, replicas = before
        span = Span(
            begin=begin,
            end=now,
            arrivals=seen.arrivals,
            before=past.in_flight,
            after=seen.in_flight,
            variant=variant,
            replicas=replicas,
        )
        past.spans.append(span)
    past.in_flight = seen.in_flight
    while past.spans and past.spans[0].end <= now - WATCHED_S:
        past.spans.popleft()


def _serving(pods: Sequence[ReplicaView]) -> tuple[Variant, int] | None:
    """Return the one variant that has requests, and its replicas; None where others have some."""
    variants = [pod.variant for pod in pods if serves(pod)]
    drains = any(pod.terminating for pod in pods)
    return None if drains or len(set(variants)) != 1 else (variants[0], len(variants))


def _shape(
    state: DeploymentState, inputs: Signal, outputs: Signal, hits: Signal
) -> TokenShape | None:
    """Return what was told of requests, else what the workload says; None without a policy."""
    if state.policy is None:
        return None
    prior = state.policy.shape
    input_tokens, output_tokens, hit = (
        signal.value if isinstance(signal, Fresh) else None for signal in (inputs, outputs, hits)
    )
    return replace(
        prior,
        input_tokens=_even(input_tokens or prior.input_tokens),
        output_tokens=_even(output_tokens or prior.output_tokens),
        prefix_hit=prior.prefix_hit if hit is None else round(hit, 1),
    )


def _at_hand(pool: Pool) -> Pool:
    """Return `pool` with all the nodes that it may have: starting is all that takes time."""
    devices = pool.usable_devices
    return replace(pool, devices=devices, nodes=-(-devices // pool.devices_per_node))


def _rate(counts: Sequence[_Count], now: float, window_s: float) -> Signal:
    """Return requests/s of the window; calls may lie anywhere, within one arrivals are even."""
    begin = max(now - window_s, counts[0].begin)
    if now <= begin:
        return Missing(why="nothing was counted yet")
    arrived = 0.0
    for each in counts:
        span = each.end - each.begin
        inside = each.end - max(each.begin, begin)
        arrived += each.seen.arrivals * (inside / span if span > 0.0 else 1.0)
    return Fresh(value=arrived / (now - begin))


def _mean(counted: Iterable[tuple[int, float | None]]) -> Signal:
    known = [(many, tokens) for many, tokens in counted if tokens is not None and many > 0]
    total = sum(many for many, _ in known)
    if not total:
        return Missing(why="nobody told it")
    return Fresh(value=sum(many * tokens for many, tokens in known) / total)


def _even(tokens: float) -> float:
    """Return a length to two digits, so that the performance model is asked for few of them."""
    return float(f"{tokens:.1e}")
