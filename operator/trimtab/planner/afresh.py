"""One deployment asked about afresh: the world as it is, as if nothing of it ran yet."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from trimtab.api.llmdeployment import Mode
from trimtab.config import PlannerConfig
from trimtab.models.capacity import Price
from trimtab.models.load import ObservedLoad
from trimtab.models.plan import Decision, Demand, VariantTarget
from trimtab.models.policy import EffectivePolicy
from trimtab.models.signals import Missing
from trimtab.models.snapshot import DeploymentState, Key, Snapshot, VariantState
from trimtab.planner.plan import plan

_ASKED = Missing(why="asked afresh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A world in which only one deployment is still to be placed."""

    world: Snapshot
    config: PlannerConfig
    key: Key

    @property
    def policy(self) -> EffectivePolicy:
        """The policy of the deployment that is asked about."""
        policy = _state(self.world, self.key).policy
        assert policy is not None, "only a deployment with a policy is asked about"
        return policy

    def answer(self) -> Decision:
        """Return the decision on the deployment that is asked about."""
        decisions = plan(self.world, self.config).decisions
        return next(decision for decision in decisions if decision.key == self.key)

    def with_price(self, pool: str, usd_per_hour: float) -> "Question":
        """Return the question where a device of `pool` costs so much."""
        price = Price(usd_per_hour=usd_per_hour, source="Asked")
        return self._with_pools(
            lambda one: replace(one, price=price) if one.name == pool else one,
        )

    def with_devices(self, devices: int, pool: str | None = None) -> "Question":
        """Return the question where `pool` can grow to `devices`, and is not short.

        None means every pool.
        """
        memory = self.world.memory
        short = tuple(one for one in memory.pools if pool not in (None, one.pool))
        rested = replace(self.world, memory=replace(memory, pools=short))
        return replace(self, world=rested)._with_pools(
            lambda one: replace(one, max_devices=devices) if pool in (None, one.name) else one
        )

    def only(self, pool: str) -> "Question":
        """Return the question where `pool` is the only one."""
        pools = tuple(one for one in self.world.pools if one.name == pool)
        return replace(self, world=replace(self.world, pools=pools))

    def with_policy(self, **changes: Any) -> "Question":
        """Return the question with these fields of the policy changed."""
        policy = replace(self.policy, **changes)
        states = tuple(
            replace(state, policy=policy) if state.key == self.key else state
            for state in self.world.deployments
        )
        return replace(self, world=replace(self.world, deployments=states))

    def without_budgets(self) -> "Question":
        """Return the question where no FleetBudget holds."""
        return replace(self, world=replace(self.world, budgets=()))

    def _with_pools(self, change: Callable[[Any], Any]) -> "Question":
        pools = tuple(change(pool) for pool in self.world.pools)
        return replace(self, world=replace(self.world, pools=pools))


def question_of(
    snapshot: Snapshot, config: PlannerConfig, decisions: tuple[Decision, ...], subject: Key
) -> Question:
    """Return the question of how `subject` would be placed if nothing of it ran.

    What runs is held back from moving by windows and by what a move must save; a question about
    another price or demand wants the answer beneath these. The demand is that of its decision. All
    other deployments hold what `decisions` give them and are not asked again.
    """
    given = {decision.key: decision for decision in decisions}
    states = []
    for state in snapshot.deployments:
        if state.key == subject:
            states.append(_afresh(state, given[subject].demand, snapshot))
        else:
            states.append(_held(state, given[state.key]))
    memories = tuple(
        memory
        for memory in snapshot.memory.deployments
        if (memory.namespace, memory.name) != (subject.namespace, subject.name)
    )
    world = replace(
        snapshot,
        deployments=tuple(states),
        memory=replace(snapshot.memory, deployments=memories),
    )
    return Question(world=world, config=config, key=subject)


def _afresh(state: DeploymentState, demand: Demand, snapshot: Snapshot) -> DeploymentState:
    policy = state.policy
    if policy is None:
        return state
    remembered = next(
        (
            memory.shape
            for memory in snapshot.memory.deployments
            if (memory.namespace, memory.name) == (state.key.namespace, state.key.name)
        ),
        None,
    )
    shape = replace(
        remembered or policy.shape,
        input_tokens=demand.input_tokens,
        output_tokens=demand.output_tokens,
    )
    return replace(
        state,
        created=snapshot.now,
        paused=False,
        policy=replace(policy, prior_rps=demand.rps, shape=shape, mode=Mode.AUTO),
        variants=(),
        load=ObservedLoad(arrival_rps=_ASKED, waiting=_ASKED),
    )


def _held(state: DeploymentState, decision: Decision) -> DeploymentState:
    """Return `state` with what it was given, and not to be decided on."""
    if not decision.write:
        return replace(state, paused=True)
    running = {(v.pool, v.parallelism): v for v in state.variants}
    variants = tuple(
        _given(target, running.get((target.pool, target.parallelism)))
        for target in decision.targets
    )
    return replace(state, paused=True, variants=variants)


def _given(target: VariantTarget, running: VariantState | None) -> VariantState:
    if running is not None:
        return replace(running, replicas=target.replicas)
    return VariantState(
        pool=target.pool,
        parallelism=target.parallelism,
        replicas=target.replicas,
        ready=target.replicas,
        pods=target.replicas,
    )


def _state(world: Snapshot, key: Key) -> DeploymentState:
    return next(state for state in world.deployments if state.key == key)
