"""What one replica can do, with where the figure comes from and how sure it is."""

from dataclasses import dataclass
from enum import StrEnum


class Provenance(StrEnum):
    """Where a performance figure comes from, best last."""

    GUESSED = "guessed"
    """As estimated, for a model of which only the size in its name is known."""
    ESTIMATED = "estimated"
    CALIBRATED = "calibrated"
    MEASURED = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPrediction:
    """Predicted latencies of one replica under a load, in seconds, at a stated percentile."""

    ttft_s: float
    itl_s: float
    """A request's mean gap between two tokens, at the percentile over requests: what the target is
    for."""
    gap_s: float
    """A single gap, at the percentile over all gaps, as engines count them."""
    e2e_s: float
    kv_utilization: float
    concurrency: float
    """Requests in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCapacity:
    """The largest request rate of one replica at which every target holds."""

    max_rps: float
    at_max: LatencyPrediction
    """Latencies at `max_rps`."""
    provenance: Provenance
    uncertainty: float
    """Relative standard error of `max_rps`; costs headroom."""
    kv_tokens: int
    """Tokens that the KV cache of one replica holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasible:
    """Why a candidate cannot serve, whatever its count."""

    reason: str
    """DoesNotFit, MissesTTFT, MissesITL, MissesE2E, UnknownModel, UnknownAccelerator, ..."""
    message: str
    """One sentence with the figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepScales:
    """How a replica's step times differ from the model's: logarithms of three factors.

    A normal distribution. Zero means as predicted; 0.1 means a tenth slower.
    """

    read: float
    """On moving weights, keys and values through memory."""
    compute: float
    """On what grows with new tokens."""
    host: float
    """On what the engine costs beside the device."""
    covariance: tuple[float, float, float, float, float, float]
    """Of read, compute and host in this order: the upper triangle, row by row."""
