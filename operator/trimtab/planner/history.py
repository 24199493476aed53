"""What is remembered of one deployment: fresh evidence over a window, and since when."""

from dataclasses import dataclass, replace

from trimtab.api.conditions import Reason
from trimtab.models.load import TokenShape
from trimtab.models.memory import DeploymentMemory, WantedSample
from trimtab.planner.demand import Need
from trimtab.planner.evidence import Evidence

GAP_S = 90.0
"""Longest time between two plans over which evidence counts as without a gap: six ticks."""
MAX_SAMPLES = 64
_SLOTS = 48
"""Samples kept over a window; what falls into one slot is kept as its heaviest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one plan saw."""

    now: float
    """Unix seconds."""
    window_s: float
    evidence: Evidence
    need: Need
    rps: float
    """Demand to remember, requests/s: at least what an overloaded fleet was seen to need."""
    settling: bool
    """Whether a replica got Ready so lately that it cannot be in the rates yet."""


def remember(memory: DeploymentMemory, seen: Observation) -> DeploymentMemory:
    """Return the memory with one more observation; doubt empties the window.

    A gap, a clock that went back, and a sample from the future all begin the evidence anew: a
    jump of the clock never shortens a window. That a new replica does not report yet is no news of
    the others: it breaks the evidence only once it lasts for as long as a gap may.
    """
    now, since = seen.now, memory.fresh_since
    if not seen.evidence.fresh:
        new = seen.settling and seen.evidence.reason is Reason.METRICS_PARTIAL
        return memory if new and _follows(memory, now) else forget(memory)
    samples, idle_since = memory.samples, memory.idle_since
    if since is None or since > now or not _follows(memory, now):
        samples, since, idle_since = (), now, None
    sample = WantedSample(at=now, rps=seen.rps, shape=seen.need.shape.assumed)
    samples = _pruned(_added(samples, sample, since, seen.window_s), now - seen.window_s)
    if idle_since is None:
        idle_since = now
    return replace(
        memory,
        samples=samples,
        fresh_since=since,
        idle_since=idle_since if seen.evidence.idle else None,
        measured=memory.measured or samples[0].at <= now - seen.window_s,
        shape=memory.shape if seen.need.means is None else seen.need.shape,
        means=seen.need.means,
        peak_rps=max(memory.peak_rps, seen.need.rps),
    )


def _follows(memory: DeploymentMemory, now: float) -> bool:
    """Return whether fresh evidence came so shortly before `now` that there is no gap."""
    return bool(memory.samples) and 0 <= now - memory.samples[-1].at <= GAP_S


def forget(memory: DeploymentMemory) -> DeploymentMemory:
    """Return the memory with the evidence dropped: the window begins anew."""
    return replace(memory, samples=(), fresh_since=None, idle_since=None)


def is_whole(memory: DeploymentMemory, now: float, window_s: float) -> bool:
    """Return whether the evidence covers the window up to `now` without a gap."""
    return bool(memory.samples) and memory.samples[0].at <= now - window_s


def heavier(one: TokenShape, other: TokenShape) -> TokenShape:
    """Return a shape that is no lighter than either."""
    return replace(
        one,
        input_tokens=max(one.input_tokens, other.input_tokens),
        output_tokens=max(one.output_tokens, other.output_tokens),
        prefix_hit=min(one.prefix_hit, other.prefix_hit),
    )


def _added(
    samples: tuple[WantedSample, ...], sample: WantedSample, since: float, window_s: float
) -> tuple[WantedSample, ...]:
    """Append `sample`, or merge it into the last one where both fall into one slot."""
    width = window_s / _SLOTS
    if samples and width > 0:
        last = samples[-1]
        same = (last.at - since) // width == (sample.at - since) // width
        if same and len(samples) > 1:
            merged = WantedSample(
                at=sample.at,
                rps=max(last.rps, sample.rps),
                shape=heavier(last.shape, sample.shape),
            )
            return (*samples[:-1], merged)
    return (*samples, sample)


def _pruned(samples: tuple[WantedSample, ...], start: float) -> tuple[WantedSample, ...]:
    """Drop what is older than the window, but for the newest of it: it shows that it is whole."""
    first = 0
    while first + 1 < len(samples) and samples[first + 1].at <= start:
        first += 1
    return samples[max(first, len(samples) - MAX_SAMPLES) :]
