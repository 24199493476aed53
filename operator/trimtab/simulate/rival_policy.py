"""Another autoscaler's rule as a policy: one of it for each deployment, on what it reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trimtab.models.snapshot import Key
from trimtab.simulate.offers import Offer, Scene
from trimtab.simulate.policy import Choice, DeploymentView, FleetView, Reason, Variant
from trimtab.simulate.rivals.base import (
    Arrival,
    Observation,
    Phase,
    Pool,
    Replica,
    Rival,
    Scrape,
    Source,
)

AnyRival = Rival[Any]


@dataclass(slots=True, kw_only=True)
class Seat:
    """One deployment's rival, and what it remembers."""

    scene: Scene
    rival: AnyRival
    begins: Mapping[str, int]
    """Replicas at the start, by pool."""
    memory: Any = None
    scraped: Mapping[str, Scrape | None] = field(default_factory=dict)
    """The page of each replica that it was last told of."""


class RivalPolicy:
    """The rivals of all deployments. Each sees its own pools only."""

    debounce_s: float | None = None

    def __init__(self, name: str, seats: Mapping[Key, Seat]) -> None:
        """Take one seat for each deployment that can be served at all."""
        self.name = name
        self._seats = seats
        self.interval_s = min(seat.rival.interval_s for seat in seats.values())

    def decide(self, view: FleetView) -> Choice:
        """Return what all rivals ask for; at the start, what they begin with."""
        replicas: dict[Variant, int] = {}
        reasons: dict[Key, Reason] = {}
        for deployment in view.deployments:
            seat = self._seats.get(deployment.key)
            if seat is None:
                continue
            if view.now <= 0.0:
                counts, reason = seat.begins, "begins"
                seat.memory = seat.rival.start(_first(seat), view.now)
            else:
                observation = _observed(seat, deployment, view)
                decision = seat.rival.decide(observation, seat.memory, view.now)
                seat.memory, counts, reason = decision.memory, decision.replicas, decision.reason
            reasons[deployment.key] = Reason(why=seat.rival.name, message=reason)
            for name, offer in seat.scene.offers.items():
                kept = deployment.wanted.get(offer.variant, 0)
                replicas[offer.variant] = counts.get(name, kept if view.now > 0.0 else 0)
        return Choice(replicas=replicas, reasons=reasons)


def _first(seat: Seat) -> Observation:
    """Return what a rival sees when it starts: the replicas of the start, Ready, unread."""
    return Observation(
        pools=tuple(
            _pool(
                offer,
                desired=seat.begins.get(name, 0),
                replicas=tuple(
                    Replica(id=f"{name}/{i}", phase=Phase.READY, scrape=None)
                    for i in range(seat.begins.get(name, 0))
                ),
            )
            for name, offer in seat.scene.offers.items()
        ),
        minimum=seat.scene.minimum,
        maximum=seat.scene.maximum,
        metrics=Source.ANSWERS,
        arrivals=(),
        ongoing=0.0,
        held=0.0,
        latency=None,
    )


def _observed(seat: Seat, deployment: DeploymentView, view: FleetView) -> Observation:
    arrivals = deployment.arrivals
    pools = []
    pages: dict[str, Scrape | None] = {}
    for offer in seat.scene.offers.values():
        replicas = []
        for pod in deployment.replicas:
            if pod.variant != offer.variant or pod.terminating:
                continue
            page = pod.scrape
            pages[pod.id] = page
            if page is not None and seat.scraped.get(pod.id) is page:
                # It was told of these latencies already.
                page = replace(page, ttft_s=None, itl_s=None)
            replicas.append(Replica(id=pod.id, phase=pod.phase, scrape=page))
        pools.append(
            _pool(
                offer,
                desired=deployment.wanted.get(offer.variant, 0),
                replicas=tuple(replicas),
                lost=deployment.lost.get(offer.variant, 0),
            )
        )
    seat.scraped = pages
    return Observation(
        pools=tuple(pools),
        minimum=seat.scene.minimum,
        maximum=seat.scene.maximum,
        metrics=view.metrics,
        arrivals=tuple(
            map(
                Arrival,
                arrivals.at_s.tolist(),
                arrivals.input_tokens.tolist(),
                arrivals.output_tokens.tolist(),
            )
        ),
        ongoing=deployment.ongoing,
        held=deployment.held,
        latency=deployment.latency,
    )


def _pool(offer: Offer, *, desired: int, replicas: tuple[Replica, ...], lost: int = 0) -> Pool:
    return Pool(
        name=offer.pool.name,
        price=offer.kind.usd_per_hour,
        spot=offer.spot,
        capacity=offer.most,
        desired=desired,
        replicas=replicas,
        lost=lost,
        kv_tokens=float(offer.kind.pace.kv_tokens),
    )
