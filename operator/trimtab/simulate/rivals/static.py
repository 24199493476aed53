"""A fixed fleet for the peak: what most people run, and what the others are measured against."""

from collections.abc import Mapping
from dataclasses import dataclass

from trimtab.simulate.rivals.base import Decision, Observation

INTERVAL_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Static:
    """The same replicas at all times. Who builds it knows the peak, in hindsight."""

    replicas: Mapping[str, int]
    """By pool."""
    name: str = "static"
    interval_s: float = INTERVAL_S

    def start(self, observation: Observation, now: float) -> None:
        """Remember nothing."""

    def decide(self, observation: Observation, memory: None, now: float) -> Decision[None]:
        """Return the fixed replicas."""
        return Decision(replicas=self.replicas, memory=None, reason="fixed")
