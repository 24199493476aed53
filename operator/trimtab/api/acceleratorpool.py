"""AcceleratorPool: a kind of accelerator node where a replica can land, and its price."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from trimtab.api.base import ApiModel, Duration, Money, ObjectName, Resource
from trimtab.api.conditions import Condition
from trimtab.api.policy import CapacityType

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class TolerationOperator(StrEnum):
    """How a toleration matches a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """A taint that replicas on this pool tolerate."""

    key: LabelKey
    """Key of the taint."""
    operator: TolerationOperator | None = None
    """How it matches. Default: Exists without a value, Equal with one."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: TaintEffect | None = None
    """Effect of the taint. Default: every effect."""


class PoolPrice(ApiModel):
    """What a device of this pool costs."""

    per_device_hour: Money
    """Price of one device for one hour, in $, with its share of the node."""


class PoolCapacity(ApiModel):
    """How much the pool can hold."""

    max_devices: int | None = Field(default=None, ge=0, le=1000000)
    """Most devices that the pool can grow to. Default: the devices of its nodes."""


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


class AcceleratorPoolSpec(ApiModel):
    """What the pool is. Pools with nodes write themselves; a user's field always wins."""

    accelerator: ObjectName
    """Name of the accelerator in the catalogue, such as nvidia-h100-sxm."""
    hardware: Hardware | None = None
    """Figures of an accelerator that the catalogue does not know."""
    resource_name: str = Field(pattern=r"^[a-z0-9][a-zA-Z0-9./_-]*$", min_length=3, max_length=128)
    """Extended resource that a pod requests, such as nvidia.com/gpu."""
    devices_per_node: int = Field(ge=1, le=1024)
    """Devices on one node; a replica never spans nodes."""
    node_selector: dict[LabelKey, LabelValue] = Field(min_length=1, max_length=16)
    """Labels of the nodes of this pool."""
    tolerations: list[Toleration] | None = Field(default=None, max_length=16)
    """Taints that replicas on this pool tolerate."""
    capacity_type: CapacityType | None = None
    """How the nodes are bought. Default: OnDemand."""
    price: PoolPrice | None = None
    """What a device costs. Default: the dated catalogue's price for the node type."""
    capacity: PoolCapacity | None = None
    """How much the pool can hold. Default: what its nodes have."""
    provisioning_time: Duration | None = None
    """Time from a pending pod to a new node. Default: 5m where nodes are missing."""
    failure_domain: str | None = Field(default=None, max_length=63)
    """Zone or rack that fails as one. Default: the pool itself."""


class PoolPriceStatus(ApiModel):
    """The price in force."""

    per_device_hour: str = Field(max_length=16)
    """Price of one device for one hour, in $."""
    source: str = Field(max_length=64)
    """Where it comes from."""
    as_of: str | None = Field(default=None, max_length=32)
    """Date of the price."""


class AcceleratorPoolStatus(ApiModel):
    """What the pool has now."""

    observed_generation: int = -1
    """The generation of the spec that this status answers."""
    conditions: list[Condition] = Field(default_factory=list, max_length=8)
    """Ready: replicas can land here. Its reason says why not."""
    nodes: int = 0
    """Ready nodes."""
    devices: int = 0
    """Devices on ready nodes."""
    promised: int = 0
    """Devices promised to replicas."""
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

    spec: AcceleratorPoolSpec
    """What the pool is."""
    status: AcceleratorPoolStatus | None = None
    """What the pool has now."""
