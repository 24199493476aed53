"""What devices cost while pods hold them, from being scheduled to being gone."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from trimtab.models.snapshot import Key
from trimtab.simulate.kinds import Kind
from trimtab.simulate.policy import Variant

_HOUR_S = 3600.0


@dataclass(slots=True, kw_only=True)
class Account:
    """What was used, in seconds or seconds times a rate."""

    replica_s: float = 0.0
    device_s: float = 0.0
    usd: float = 0.0
    watt_hours: float = 0.0


class Bill:
    """Accounts by pool and by deployment, and what is in use now."""

    def __init__(self) -> None:
        """Start with nothing in use."""
        self.pools: dict[str, Account] = {}
        self.usd_of: defaultdict[Key, float] = defaultdict(float)
        self.devices: Counter[str] = Counter()
        """In use now, by pool."""
        self.prices: dict[str, float] = {}
        """Of a device now, $/h, by pool; one that is left out costs what its kinds say."""
        self.usd = 0.0
        """All cost from the beginning, whatever was forgotten."""
        self._held: Counter[tuple[Variant, Kind]] = Counter()
        self._at = 0.0

    def change(self, variant: Variant, kind: Kind, by: int, now: float) -> None:
        """Count replicas that begin (1) or cease (-1) to hold devices."""
        self.settle(now)
        self._held[variant, kind] += by
        self.devices[variant.pool] += by * kind.devices

    def reprice(self, pool: str, usd_per_hour: float, now: float) -> None:
        """Charge another price for each device of a pool from now on."""
        self.settle(now)
        self.prices[pool] = usd_per_hour

    def settle(self, now: float) -> None:
        """Bring the accounts to `now`."""
        seconds = now - self._at
        self._at = now
        if seconds <= 0.0:
            return
        for (variant, kind), replicas in self._held.items():
            if replicas:
                account = self.pools.setdefault(variant.pool, Account())
                rate = kind.usd_per_hour
                if variant.pool in self.prices:
                    rate = self.prices[variant.pool] * kind.devices
                usd = replicas * rate * seconds / _HOUR_S
                account.replica_s += replicas * seconds
                account.device_s += replicas * kind.devices * seconds
                account.usd += usd
                account.watt_hours += replicas * kind.watts * seconds / _HOUR_S
                self.usd_of[variant.deployment] += usd
                self.usd += usd

    def forget(self) -> None:
        """Begin to count anew; what is in use stays so."""
        self.pools.clear()
        self.usd_of.clear()
