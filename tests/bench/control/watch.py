"""A policy that is looked at while it decides."""

from dataclasses import dataclass, field

from trimtab.simulate.policy import Choice, FleetView, Policy
from trimtab.simulate.rivals.base import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One decision about the only deployment, and what it was made on."""

    at_s: float
    rps: float
    """Arrivals since the decision before."""
    in_flight: int
    wanted: int
    """From now on."""
    ready: int
    pending: int
    """Replicas that were asked for and do not serve yet."""
    why: str
    message: str

    def line(self) -> str:
        """Return it for people."""
        return (
            f"{self.at_s:8.1f} {self.rps:7.2f} rps {self.in_flight:5} in flight"
            f"  wanted {self.wanted:3} ready {self.ready:3} pending {self.pending:3}"
            f"  {self.why}: {self.message}"
        )


@dataclass(slots=True, kw_only=True)
class Watched:
    """Decides as `policy` does, and notes it."""

    policy: Policy
    ticks: list[Tick] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the policy's name."""
        return self.policy.name

    @property
    def interval_s(self) -> float:
        """Return the policy's period."""
        return self.policy.interval_s

    @property
    def debounce_s(self) -> float | None:
        """Return how long the policy gathers events."""
        return self.policy.debounce_s

    def decide(self, view: FleetView) -> Choice:
        """Return the policy's decision."""
        choice = self.policy.decide(view)
        (deployment,) = view.deployments
        staying = [pod for pod in deployment.replicas if not pod.terminating]
        ready = sum(pod.phase is Phase.READY for pod in staying)
        reason = choice.reasons.get(deployment.key)
        span = view.now - self.ticks[-1].at_s if self.ticks else 0.0
        self.ticks.append(
            Tick(
                at_s=view.now,
                rps=len(deployment.arrivals) / span if span > 0.0 else 0.0,
                in_flight=deployment.in_flight,
                wanted=sum(choice.replicas.values()),
                ready=ready,
                pending=len(staying) - ready,
                why=reason.why if reason else "",
                message=reason.message if reason else "",
            )
        )
        return choice
