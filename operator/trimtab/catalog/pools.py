"""An AcceleratorPool and what its nodes have, as the planner's Pool: a user's field always wins."""

from trimtab.api.acceleratorpool import AcceleratorPool, AcceleratorPoolSpec
from trimtab.api.policy import CapacityType
from trimtab.catalog import accelerators
from trimtab.catalog.nodes import identify
from trimtab.catalog.prices import device_price
from trimtab.models.capacity import Pool, Price
from trimtab.models.hardware import Accelerator
from trimtab.units import parse_decimal, parse_duration

PROVISIONING_S = 300.0
"""Seconds from a pending pod to a new node where the pool does not say."""


def pool_of(
    resource: AcceleratorPool,
    *,
    nodes: int,
    devices: int,
    foreign_devices: int,
    node_free: tuple[int, ...] = (),
    unready_nodes: int = 0,
    catalogue_price: Price | None,
) -> Pool:
    """Return the pool of `resource`.

    Args:
        resource: The AcceleratorPool; its price and hardware figures win over the catalogue's.
        nodes: Ready, schedulable nodes that its selector matches.
        devices: Devices on them.
        foreign_devices: Devices on them that pods of others hold.
        node_free: Devices of each node that no pod holds; empty where that is not known.
        unready_nodes: Nodes of it that are not Ready.
        catalogue_price: Price of one device from elsewhere, or None when nobody knows one.

    Raises:
        InvalidInput: A price or duration in the spec is none; the API server admits no such spec.
    """
    spec = resource.spec
    accelerator = _accelerator(spec)
    max_devices = spec.capacity.max_devices if spec.capacity else None
    return Pool(
        name=resource.metadata.name,
        accelerator=accelerator,
        accelerator_name=accelerator.name if accelerator else spec.accelerator,
        resource_name=spec.resource_name,
        devices_per_node=spec.devices_per_node,
        node_selector=tuple(sorted(spec.node_selector.items())),
        tolerations=tuple(spec.tolerations or ()),
        capacity_type=spec.capacity_type or CapacityType.ON_DEMAND,
        price=_own_price(spec) or catalogue_price,
        nodes=nodes,
        devices=devices,
        foreign_devices=foreign_devices,
        node_free=tuple(sorted(node_free)),
        unready_nodes=unready_nodes,
        max_devices=max_devices,
        provisioning_s=_provisioning_s(spec, grows=(max_devices or 0) > devices),
        failure_domain=spec.failure_domain or resource.metadata.name,
        carbon_g_per_kwh=spec.carbon_intensity,
    )


def selected_price(spec: AcceleratorPoolSpec) -> Price | None:
    """Return the catalogue's price of one device of the nodes that `spec` selects, or None.

    Instance type, cloud and region are read from the node selector, as no node is there to ask.
    """
    kind = identify(spec.node_selector, (), {spec.resource_name: spec.devices_per_node})
    known = accelerators.get(spec.accelerator)
    return device_price(
        known.name if known else spec.accelerator,
        spec.capacity_type or CapacityType.ON_DEMAND,
        instance_type=kind.instance_type if kind else None,
        provider=kind.cloud if kind else None,
        region=kind.region if kind else None,
    )


def _accelerator(spec: AcceleratorPoolSpec) -> Accelerator | None:
    if spec.hardware is None:
        return accelerators.get(spec.accelerator)
    return accelerators.from_hardware(spec.accelerator, spec.hardware, spec.resource_name)


def _own_price(spec: AcceleratorPoolSpec) -> Price | None:
    if spec.price is None:
        return None
    usd = parse_decimal(spec.price.per_device_hour, "spec.price.perDeviceHour")
    return Price(usd_per_hour=usd, source="Pool")


def _provisioning_s(spec: AcceleratorPoolSpec, *, grows: bool) -> float:
    if spec.provisioning_time is not None:
        return parse_duration(spec.provisioning_time, "spec.provisioningTime")
    return PROVISIONING_S if grows else 0.0
