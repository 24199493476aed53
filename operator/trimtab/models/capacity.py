"""Pools: where a replica can land, what it costs, what is there."""

from dataclasses import dataclass

from trimtab.api.acceleratorpool import Toleration
from trimtab.api.policy import CapacityType
from trimtab.models.hardware import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Price of one device for one hour."""

    usd_per_hour: float
    source: str
    """Pool, Catalogue, Karpenter, OpenCost."""
    as_of: str | None = None
    """Date of the price, ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One AcceleratorPool with what its nodes have now."""

    name: str
    accelerator: Accelerator | None
    """None when neither the catalogue nor the pool knows its figures."""
    accelerator_name: str
    resource_name: str
    devices_per_node: int
    node_selector: tuple[tuple[str, str], ...]
    tolerations: tuple[Toleration, ...]
    capacity_type: CapacityType
    price: Price | None
    """None when no price is known."""
    nodes: int
    """Ready, schedulable nodes."""
    devices: int
    """Devices on them."""
    foreign_devices: int
    """Devices on them that pods of others hold."""
    max_devices: int | None
    """What the pool can grow to, or None: it has what its nodes have."""
    provisioning_s: float
    failure_domain: str
    node_free: tuple[int, ...] = ()
    """Devices that no pod holds on each of its nodes, sorted; empty where that is not known."""
    unready_nodes: int = 0
    """Nodes of it that are not Ready."""
    carbon_g_per_kwh: float | None = None
    """What a kWh for its nodes emits, in gCO2; None when unknown."""

    @property
    def usable_devices(self) -> int:
        """Devices that our replicas may count on, now or after the pool has grown."""
        total = self.devices if self.max_devices is None else self.max_devices
        return max(0, total - self.foreign_devices)
