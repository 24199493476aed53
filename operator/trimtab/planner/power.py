"""What replicas draw, and what weighs as money where energy or carbon is the objective."""

from collections.abc import Sequence
from dataclasses import dataclass

IDLE_SHARE = 0.32
"""Share of its rated power that an idle accelerator with a model in memory draws."""
MIDDLE_SHARE = 0.84
MIDDLE_BUSY = 0.6
"""Share that it draws when it is busy at MIDDLE_BUSY. Both are medians over six kinds of four
makers, L4 to MI300X (the accelerator table of llm-d inferno, research/models.md 1.2, Energy)."""
TIE = 1e-3
"""Weight of money beside energy or carbon: of two fleets that draw alike, the cheaper is taken."""
UNKNOWN = 2.0
"""What is unknown weighs so many times the heaviest that is known, as a replica and for a request:
one replica more, for rounding up, never makes what is known the heavier one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What one replica draws: its accelerators, without host, network and cooling."""

    rated_w: float
    """Of all its devices at full power, in W."""
    busy: float
    """How busy it is at the rate that it is given: the share of the rate at which it saturates."""

    def at(self, load: float) -> float:
        """Return the W that it draws when it gets `load` times the rate that it is given."""
        busy = min(1.0, max(0.0, load * self.busy))
        if busy <= MIDDLE_BUSY:
            share = IDLE_SHARE + (MIDDLE_SHARE - IDLE_SHARE) * busy / MIDDLE_BUSY
        else:
            share = MIDDLE_SHARE + (1.0 - MIDDLE_SHARE) * (busy - MIDDLE_BUSY) / (1.0 - MIDDLE_BUSY)
        return self.rated_w * share


def grams(watts: float | None, g_per_kwh: float | None) -> float | None:
    """Return the gCO2/h of `watts` from a grid of so much gCO2/kWh, None when either is unknown."""
    return None if watts is None or g_per_kwh is None else watts / 1000.0 * g_per_kwh


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One way to place a replica, as weights need it."""

    burden: float | None
    """W, or gCO2/h, of one replica at the rate that it is given; None when unknown."""
    price: float | None
    """$/h of one replica; None when unknown."""
    rps: float
    """Requests/s that one replica is given; 0 when it cannot serve."""


def weights(offers: Sequence[Offer]) -> list[float | None]:
    """Return what one replica of each offer weighs in the programme, in $/h.

    A unit of the burden is worth what the offers pay for it on average, so that deployments with
    other objectives weigh alike where they share pools. What is unknown is not zero: it weighs more
    than all that is known, and is taken where nothing else has room. Where all is unknown, or all
    is zero, money alone decides.
    """
    able = [offer for offer in offers if offer.rps > 0]
    known = [(offer.burden, offer.price, offer.rps) for offer in able if offer.burden is not None]
    if not known:
        return [offer.price for offer in offers]
    prices = [offer.price for offer in able if offer.price is not None]
    dearest = max(prices, default=0.0)
    paid = [(burden, price) for burden, price, _ in known if price is not None]
    money, burdens = sum(price for _, price in paid), sum(burden for burden, _ in paid)
    worth = money / burdens if money > 0 and burdens > 0 else 1.0

    def weight(burden: float, price: float | None) -> float:
        return worth * burden + TIE * (dearest if price is None else price)

    heavy = max(weight(burden, price) for burden, price, _ in known)
    ratio = max(weight(burden, price) / rps for burden, price, rps in known)
    return [
        weight(offer.burden, offer.price)
        if offer.burden is not None
        else UNKNOWN * max(heavy, ratio * offer.rps) + TIE * (offer.price or dearest)
        for offer in offers
    ]
