"""Capacity that is taken back unasked: what must survive it, and what losing it may cost."""

from dataclasses import dataclass

from trimtab.api.policy import CapacityType
from trimtab.models.capacity import Pool

RECLAIMS_PER_HOUR = 0.05
"""Reclaims of a spot domain an hour where none were seen, a guess on the safe side: published
frequencies of interruption are below 20 % a month for a node, and zones that are short go several
times a day. Too high costs a little money, too low costs requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """How often a domain is taken back, and how long its replacement takes."""

    ready_s: float
    """From the loss of a replica to the Ready of another one: provisioning and start."""
    reclaims_per_hour: float


def domain_of(pool: Pool) -> str:
    """Return the domain whose loss the fleet must survive; empty where nothing is taken back.

    Spot nodes of one failure domain are taken back together (SkyServe, arXiv 2411.01438, 2.3).
    """
    return pool.failure_domain if pool.capacity_type is CapacityType.SPOT else ""


def share_down(risk: Risk) -> float:
    """Return the share of time in which a domain that is taken back is not replaced yet."""
    return min(1.0, risk.reclaims_per_hour * risk.ready_s / 3600.0)


def survive_share(risk: Risk, percentile: float) -> float:
    """Return the share of the demand that must stay covered when the worst domain is lost.

    While a domain is down, what it carried is late. With a share d of the time down and a share
    1 - percentile of the requests that may be late, a domain may carry the share
    (1 - percentile) / d of the demand, and the rest is the floor that stays. Half of the slack is
    left to everything else that makes requests late.

    Args:
        risk: Of the riskiest domain in use.
        percentile: Share of requests that must meet their target, 0 to 1.
    """
    down = share_down(risk)
    if down <= 0:
        return 0.0
    return max(0.0, 1.0 - 0.5 * (1.0 - percentile) / down)


def interruption_cost(price: float, substitute: float, risk: Risk) -> float:
    """Return what reclaims are expected to add to the cost of one spot replica, $/h.

    After each, a replica is paid for while it starts and serves nothing, and what it would have
    served is bridged at the price of a `substitute` that is not taken back, both $/h.
    """
    return share_down(risk) * (price + max(substitute, price))
