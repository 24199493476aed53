"""Equal replicas of a fluid: what is in them, how it flows through, and what becomes of it.

A request that finds no place in the batch waits. In the batch it goes through stages one by one and
at random, each as fast as the number in the batch allows.
"""

from dataclasses import dataclass, fields
from math import exp, sqrt

import numpy as np

from trimtab.simulate.curve import Curve

_LASTING = 0.5
"""Stays by which the mean number of requests lags that an answer's pace is read off at: whoever
leaves has lived through the whole of his stay."""
NEXT_TO_NONE = 1e-6


@dataclass(slots=True, kw_only=True)
class Counts:
    """What became of requests in some time; numbers of requests are not whole."""

    arrived: float = 0.0
    served: float = 0.0
    lost: float = 0.0
    rejected: float = 0.0
    timed_out: float = 0.0
    met: float = 0.0
    """Served within all targets."""
    met_ttft: float = 0.0
    met_itl: float = 0.0
    met_e2e: float = 0.0

    @property
    def settled(self) -> float:
        """Requests whose fate is known."""
        return self.served + self.lost + self.rejected + self.timed_out

    def add(self, other: "Counts") -> None:
        """Add what another one has counted."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """What all groups of one variant share."""

    stages: int
    rng: np.random.Generator
    """Requests go through their stages at random."""
    timeout_s: float
    """A client that has no first token after this time gives up."""


class Group:
    """Equal replicas with equally many requests in them."""

    __slots__ = ("curve", "lately", "leaving", "nature", "prompt", "queued", "replicas", "stages")

    def __init__(self, curve: Curve, replicas: int, nature: Nature) -> None:
        """Start empty."""
        self.curve = curve
        self.nature = nature
        self.replicas = replicas
        self.queued = 0.0
        """Requests that wait for a place in a batch, in all of them."""
        self.stages = [0.0] * nature.stages
        """Requests in the batches, by how far they are."""
        self.prompt = 0.0
        """Of all these, those whose first token is in time."""
        self.lately = 0.0
        """Requests in one replica, averaged over the last stays."""
        self.leaving = False
        """Whether they finish what they have and get no more."""

    @property
    def held(self) -> float:
        """Requests in all replicas."""
        return self.queued + sum(self.stages)

    @property
    def speed(self) -> float:
        """Share of the requests in a batch that is served in a second, when all stages are even."""
        typical = max(sum(self.stages) / self.replicas, NEXT_TO_NONE)
        return self.curve.rps(typical) / typical

    def part(self, replicas: int) -> "Group":
        """Take away some of the replicas, with what is in them."""
        other = Group(self.curve, replicas, self.nature)
        share = replicas / self.replicas
        other.lately = self.lately
        other.queued, other.prompt = self.queued * share, self.prompt * share
        other.stages = [stage * share for stage in self.stages]
        self.queued -= other.queued
        self.prompt -= other.prompt
        self.stages = [stage * (1.0 - share) for stage in self.stages]
        self.replicas -= replicas
        return other

    def join(self, other: "Group") -> None:
        """Take in other replicas with about as much in each."""
        replicas = self.replicas + other.replicas
        self.lately += (other.lately - self.lately) * other.replicas / replicas
        self.queued += other.queued
        self.prompt += other.prompt
        self.stages = [a + b for a, b in zip(self.stages, other.stages, strict=True)]
        self.replicas = replicas

    def clear(self) -> float:
        """Forget what is in the replicas, and return how many requests that is."""
        held = self.held
        self.queued, self.prompt, self.stages = 0.0, 0.0, [0.0] * len(self.stages)
        return held

    def serve(self, seconds: float, arrivals: float, counts: Counts) -> None:
        """Let `arrivals` requests come evenly in that time, and count those who leave."""
        curve, replicas = self.curve, self.replicas
        speed = self.speed
        if self.queued <= 0.0:
            speed *= curve.spared(
                speed * sum(self.stages) / replicas, arrivals / seconds / replicas
            )
        present = self.held + arrivals
        if present <= 0.0:
            return
        self.prompt += arrivals * curve.in_time((present - arrivals / 2.0) / replicas)
        gone = self._flow(seconds * speed * len(self.stages), arrivals)
        middle = (present - gone / 2.0 - arrivals / 2.0) / replicas
        self.lately += (middle - self.lately) * (1.0 - exp(-speed * seconds / _LASTING))
        # Who leaves had a first token in time as often as those who are there, and the pace of
        # those whose stay was like his.
        prompt = gone * self.prompt / present
        self.prompt -= prompt
        whole, first, itl, e2e = curve.fates(self.lately)
        also = whole / first if first > NEXT_TO_NONE else itl
        counts.served += gone
        counts.met += min(prompt * min(also, 1.0), gone * itl, gone * e2e)
        counts.met_ttft += prompt
        counts.met_itl += gone * itl
        counts.met_e2e += gone * e2e
        longest = replicas * curve.most_rps * self.nature.timeout_s
        if self.queued > longest:
            counts.timed_out += self.queued - longest
            self.queued = longest
            self.prompt = min(self.prompt, self.held)

    def _flow(self, passed: float, arrivals: float) -> float:
        """Let requests enter the batches and go through them; return how many have left.

        `passed` is the time, in mean times of a stage. Exact for a stage that gets an even flow.
        """
        stages = self.stages
        stay = exp(-passed)
        mean = (1.0 - stay) / passed if passed > 0.0 else 1.0
        waiting = self.queued + arrivals
        room = self.replicas * self.curve.full - sum(stages) + passed * stages[-1]
        flow = min(waiting, max(room, 0.0))
        self.queued = waiting - flow
        for number, stage in enumerate(stages):
            out = stage + flow - (stage * stay + flow * mean)
            if self.queued <= 0.0:
                out += float(self.nature.rng.standard_normal()) * sqrt(max(out, 0.0))
            out = min(max(out, 0.0), stage + flow)
            stages[number] = stage + flow - out
            flow = out
        return flow
