"""What one run of a simulated fleet gives: plain data, the same for every policy.

Scores leave out the warm-up; series and markers are of the whole run, with times from its start.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from math import isfinite
from typing import Any

from trimtab.simulate.ledger import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """One decision that changed what a deployment shall have, or its reason."""

    at_s: float
    deployment: str
    """NAMESPACE/NAME."""
    why: str
    """The policy's own word for it."""
    message: str
    fleet: Mapping[str, int]
    """Replicas that were asked for, by variant label such as `h100/tp1`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSeries:
    """One deployment over time; all tuples are as long as `Series.at_s`."""

    demand_rps: tuple[float, ...]
    """Requests/s that arrived in the step before."""
    capacity_rps: tuple[float, ...]
    """What its ready replicas serve within the targets, by the performance model."""
    wanted: Mapping[str, tuple[int, ...]]
    """Replicas asked for, by variant label."""
    ready: Mapping[str, tuple[int, ...]]
    """Replicas that serve, by variant label."""
    queue: tuple[int, ...]
    """Requests that wait, at the gateway and on replicas."""
    ttft_s: tuple[float | None, ...]
    """At the percentile of the targets over the last minute; None without a first token."""
    itl_s: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The run at equal steps: what holds at `at_s`, the end of each step."""

    step_s: float
    at_s: tuple[float, ...]
    usd_per_hour: tuple[float, ...]
    """What the devices in use cost."""
    devices: Mapping[str, tuple[int, ...]]
    """Devices in use, by pool."""
    room: Mapping[str, tuple[int, ...]]
    """Devices that could be had, by pool."""
    deployments: Mapping[str, DeploymentSeries]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolHours:
    """What was used of one pool, from a pod's being scheduled to its being gone."""

    replica_hours: float
    device_hours: float
    usd: float
    watt_hours: float
    """At the devices' rated power; 0 where the catalogue has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentResult:
    """What the clients of one deployment got. Errors and time-outs are misses."""

    tally: Tally
    """Of what happened after the warm-up, until the last answer: arrived + in_flight_before =
    settled."""
    in_flight_before: int
    """Requests that were open when the warm-up ended."""
    percentile: float
    """Share of requests that are to meet the targets, 0 to 1."""
    attainment: Mapping[str, float | None]
    """Share of settled requests that met `all`, `ttft`, `itl`, `e2e`; None without a request."""
    goodput_rps: float
    """Requests/s that met all targets."""
    input_tokens: int
    """Of requests that were served whole."""
    output_tokens: int
    over_target_s: float
    """Time in which the last minute was over a target: its TTFT or the mean gap of its answers, at
    the percentile, or the share of errors alone. No number of requests: one minute with five
    requests counts as one with a thousand."""
    short_s: float
    """Time in which more requests came in the last minute than the ready replicas of its end serve
    within the targets, by the performance model."""
    usd: float
    direction_changes: int
    """Times that the replicas asked for went up after down or down after up, per variant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One policy on one scenario with one seed."""

    scenario: str
    policy: str
    seed: int
    duration_s: float
    """Scored time: without the warm-up."""
    warmup_s: float
    cost_usd: float
    deployments: Mapping[str, DeploymentResult]
    """By NAMESPACE/NAME."""
    pools: Mapping[str, PoolHours]
    decisions: tuple[Marker, ...]
    series: Series
    direction_changes: int
    device_hours: float
    watt_hours: float
    lost_replicas: int
    """Replicas that failed or were reclaimed."""

    @property
    def attainment(self) -> float | None:
        """Share of all settled requests that met all their targets; None without a request."""
        settled = sum(each.tally.settled for each in self.deployments.values())
        met = sum(each.tally.met for each in self.deployments.values())
        return met / settled if settled else None

    @property
    def goodput_rps(self) -> float:
        """Requests/s that met all their targets, over all deployments."""
        return sum(each.goodput_rps for each in self.deployments.values())

    @property
    def errors(self) -> int:
        """Requests that got no whole answer."""
        tallies = [each.tally for each in self.deployments.values()]
        return sum(tally.lost + tally.rejected + tally.timed_out for tally in tallies)

    @property
    def usd_per_million_tokens(self) -> float | None:
        """Cost of a million tokens, prompts and answers of served requests; None without any."""
        parts = self.deployments.values()
        tokens = sum(each.input_tokens + each.output_tokens for each in parts)
        return self.cost_usd / tokens * 1e6 if tokens else None


def to_json(result: RunResult) -> dict[str, Any]:
    """Return `result` as JSON values; equal runs give equal ones, whatever made them."""
    document: dict[str, Any] = _plain(result)
    document["attainment"] = result.attainment
    document["goodput_rps"] = result.goodput_rps
    document["errors"] = result.errors
    document["usd_per_million_tokens"] = result.usd_per_million_tokens
    return document


def _plain(value: object) -> Any:
    match value:
        case Tally():
            return value.summary()
        case Enum():
            return value.value
        case float():
            return value if isfinite(value) else None
        case None | bool() | int() | str():
            return value
        case Mapping():
            return {str(key): _plain(each) for key, each in sorted(value.items())}
        case tuple() | list():
            return [_plain(each) for each in value]
        case _ if is_dataclass(value):
            return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
        case _:
            raise TypeError(f"{type(value).__name__} is no plain data")
