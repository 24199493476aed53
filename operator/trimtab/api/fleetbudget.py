"""FleetBudget: caps in $/h and devices over the deployments of some namespaces."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from trimtab.api.acceleratorpool import LabelKey, LabelValue
from trimtab.api.base import ApiModel, Money, ObjectName, Resource
from trimtab.api.conditions import Condition


class AtCap(StrEnum):
    """What happens when the cap is reached."""

    HOLD = "Hold"
    DEGRADE = "Degrade"


class FleetBudgetSpec(ApiModel):
    """The caps, and whom they bind."""

    namespaces: list[ObjectName] | None = Field(default=None, max_length=64)
    """Namespaces that share the budget, by name. Default: those of namespaceLabels, else all."""
    namespace_labels: dict[LabelKey, LabelValue] | None = Field(default=None, max_length=16)
    """Namespaces that share the budget, by label."""
    max_per_hour: Money | None = None
    """Most that they may cost together, in $/h."""
    max_devices: int | None = Field(default=None, ge=0, le=1000000)
    """Most devices that they may hold together."""
    at_cap: AtCap | None = None
    """Hold stops growth; Degrade also takes from the least important. Default: Hold."""


class FleetBudgetStatus(ApiModel):
    """What is spent."""

    observed_generation: int = -1
    """The generation of the spec that this status answers."""
    conditions: list[Condition] = Field(default_factory=list, max_length=8)
    """Ready: the budget is enforced. WithinBudget: nothing is held back."""
    per_hour: str | None = Field(default=None, max_length=16)
    """What the bound deployments cost, in $/h."""
    devices: int | None = None
    """Devices that they hold."""


class FleetBudget(Resource):
    """Caps in $/h and devices over the deployments of some namespaces."""

    KIND: ClassVar[str] = "FleetBudget"
    PLURAL: ClassVar[str] = "fleetbudgets"
    SINGULAR: ClassVar[str] = "fleetbudget"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("budget",)
    NAMESPACED: ClassVar[bool] = False

    spec: FleetBudgetSpec
    """The caps."""
    status: FleetBudgetStatus | None = None
    """What is spent."""
