"""AcceleratorPool: a kind of accelerator node where a replica can land, and its price."""

from typing import Annotated, ClassVar

from pydantic import Field

from trimtab.api.base import (
    ApiEnum,
    ApiModel,
    Count,
    Duration,
    ExtendedResource,
    Generation,
    LabelKey,
    Labels,
    LabelValue,
    Money,
    ObjectName,
    Resource,
)
from trimtab.api.columns import AGE, MESSAGE, READY, Column
from trimtab.api.conditions import Conditions
from trimtab.api.policy import CapacityType
from trimtab.api.rules import Rule, at_most, lasting


class TolerationOperator(ApiEnum):
    """How a toleration matches a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(ApiEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """A taint that replicas on this pool tolerate."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            field="value",
            cel="!has(self.operator) || self.operator != 'Exists' || !has(self.value)",
            holds=lambda self: self.operator is not TolerationOperator.EXISTS or self.value is None,
            message="has no meaning with operator Exists: remove it or write operator: Equal",
        ),
        Rule(
            field="value",
            cel="!has(self.operator) || self.operator != 'Equal' || has(self.value)",
            holds=lambda self: (
                self.operator is not TolerationOperator.EQUAL or self.value is not None
            ),
            message="must be set with operator Equal",
        ),
    )

    key: LabelKey
    """Key of the taint."""
    operator: TolerationOperator | None = None
    """How it matches. Default: Exists without a value, Equal with one."""
    value: LabelValue | None = None
    """Value of the taint. Default: any value."""
    effect: TaintEffect | None = None
    """Effect of the taint. Default: every effect."""


class PoolPrice(ApiModel):
    """What a device of this pool costs."""

    per_device_hour: Annotated[Money, at_most(1000)]
    """Price of one device for one hour, in $, with its share of the node, such as "2.49"."""


class PoolCapacity(ApiModel):
    """How much the pool can hold."""

    max_devices: int | None = Field(default=None, ge=0, le=1000000)
    """Most devices that the pool can grow to. Default: those of its nodes, so it does not grow."""


class Hardware(ApiModel):
    """Figures of an accelerator that the built-in catalogue does not know. All for one device."""

    memory_gib: int = Field(ge=1, le=4096, alias="memoryGiB")
    """Memory, in GiB."""
    bandwidth_gbs: int = Field(ge=1, le=1000000, alias="bandwidthGBs")
    """Memory bandwidth, in GB/s."""
    bf16_tflops: int = Field(ge=1, le=1000000, alias="bf16TFLOPs")
    """Dense peak at 16 bit, in TFLOP/s."""
    fp8_tflops: int | None = Field(default=None, ge=1, le=1000000, alias="fp8TFLOPs")
    """Dense peak at fp8, in TFLOP/s. Default: no fp8 units, so 16-bit speed."""
    link_gbs: int | None = Field(default=None, ge=1, le=100000, alias="linkGBs")
    """One-way bandwidth between devices of a node, in GB/s. Default: 32, which is PCIe 4."""
    watts: int | None = Field(default=None, ge=1, le=100000)
    """Power at full load, in W. Default: what the catalogue has for its name, if anything."""


class AcceleratorPoolSpec(ApiModel):
    """What the pool is. Pools with nodes write themselves; a user's field always wins."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            field="price.perDeviceHour",
            cel=(
                "!has(self.price) || double(self.price.perDeviceHour) > 0.0"
                " || has(self.capacityType) && self.capacityType == 'Reserved'"
            ),
            holds=lambda self: (
                self.price is None
                or float(self.price.per_device_hour) > 0
                or self.capacity_type is CapacityType.RESERVED
            ),
            message="must be above 0: only capacityType Reserved can be paid for already",
        ),
    )

    accelerator: ObjectName
    """Name of the accelerator in the catalogue, such as nvidia-h100-sxm."""
    hardware: Hardware | None = None
    """Figures of the accelerator. Default: what the catalogue has for its name."""
    resource_name: Annotated[
        ExtendedResource,
        Rule(
            cel="!self.contains('kubernetes.io/')",
            holds=lambda self: "kubernetes.io/" not in self,
            message="must be a device plugin's resource, such as nvidia.com/gpu",
        ),
    ]
    """Extended resource that a pod requests, such as nvidia.com/gpu."""
    devices_per_node: int = Field(ge=1, le=1024)
    """Number of devices on one node; a replica never spans nodes."""
    node_selector: Labels
    """Labels of the nodes of this pool, all of which a node must have."""
    tolerations: list[Toleration] | None = Field(default=None, max_length=16)
    """Taints that replicas on this pool tolerate. Default: none."""
    capacity_type: CapacityType | None = None
    """How the nodes are bought. Default: OnDemand."""
    price: PoolPrice | None = None
    """What a device costs. Default: the dated catalogue's price for the node type."""
    capacity: PoolCapacity | None = None
    """How much the pool can hold. Default: what its nodes have."""
    provisioning_time: Annotated[Duration, lasting("0s", "24h")] | None = None
    """Time from a pending pod to a new node. Default: 5m where nodes are missing."""
    failure_domain: LabelValue | None = None
    """Zone or rack that fails as one. Default: the pool itself."""
    carbon_intensity: int | None = Field(default=None, ge=0, le=5000)
    """What a kWh for these nodes emits, in gCO2. Default: unknown, so not chosen on carbon."""


class PoolPriceStatus(ApiModel):
    """The price in force."""

    per_device_hour: str = Field(max_length=16)
    """Price of one device for one hour, in $."""
    source: str = Field(max_length=64)
    """Where it comes from, such as Pool or Catalogue."""
    as_of: str | None = Field(default=None, max_length=32)
    """Date of the price, in ISO 8601."""


class AcceleratorPoolStatus(ApiModel):
    """What the pool has now."""

    observed_generation: Generation = -1
    """The generation of the spec that this status answers."""
    conditions: Conditions = Field(default_factory=list)
    """Ready: replicas can land here. Its reason says why not."""
    nodes: Count = 0
    """Number of ready nodes."""
    devices: Count = 0
    """Number of devices on ready nodes."""
    promised: Count = 0
    """Number of devices promised to replicas."""
    price: PoolPriceStatus | None = None
    """The price in force."""
    discovered: bool = False
    """Whether Trimtab found this pool on the nodes."""


class AcceleratorPool(Resource):
    """A kind of accelerator node where a replica can land."""

    KIND: ClassVar[str] = "AcceleratorPool"
    PLURAL: ClassVar[str] = "acceleratorpools"
    SINGULAR: ClassVar[str] = "acceleratorpool"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("apool",)
    NAMESPACED: ClassVar[bool] = False
    SELECTABLE: ClassVar[tuple[str, ...]] = (".spec.accelerator", ".spec.capacityType")
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column(name="Accelerator", path=".spec.accelerator", description="The accelerator."),
        Column(name="Type", path=".spec.capacityType", description="How the nodes are bought."),
        Column(
            name="Nodes", path=".status.nodes", description="Number of ready nodes.", kind="integer"
        ),
        Column(
            name="Devices",
            path=".status.devices",
            description="Number of devices on ready nodes.",
            kind="integer",
        ),
        Column(
            name="Promised",
            path=".status.promised",
            description="Number of devices promised to replicas.",
            kind="integer",
        ),
        Column(
            name="$/dev-h",
            path=".status.price.perDeviceHour",
            description="Price of one device for one hour, in $.",
        ),
        Column(
            name="Source", path=".status.price.source", description="Where the price comes from."
        ),
        READY,
        AGE,
        Column(
            name="Per-node",
            path=".spec.devicesPerNode",
            description="Number of devices on one node.",
            kind="integer",
            wide=True,
        ),
        Column(
            name="Max",
            path=".spec.capacity.maxDevices",
            description="Most devices that the pool can grow to.",
            kind="integer",
            wide=True,
        ),
        MESSAGE,
    )

    spec: AcceleratorPoolSpec
    """What the pool is."""
    status: AcceleratorPoolStatus | None = None
    """What the pool has now."""
