"""FleetBudget: caps in $/h and devices over the deployments of some namespaces."""

from typing import Annotated, ClassVar

from pydantic import Field

from trimtab.api.base import (
    ApiEnum,
    ApiModel,
    Count,
    Generation,
    Labels,
    Money,
    ObjectName,
    Resource,
)
from trimtab.api.columns import AGE, MESSAGE, READY, Column
from trimtab.api.conditions import Conditions
from trimtab.api.lists import Keyed
from trimtab.api.rules import Rule, at_most, excludes


class AtCap(ApiEnum):
    """What happens when the cap is reached."""

    HOLD = "Hold"
    DEGRADE = "Degrade"


class FleetBudgetSpec(ApiModel):
    """The caps, and whom they bind."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        excludes("namespaceLabels", "namespaces"),
        Rule(
            field="maxPerHour",
            cel="has(self.maxPerHour) || has(self.maxDevices)",
            holds=lambda self: self.max_per_hour is not None or self.max_devices is not None,
            message="at least one of maxPerHour and maxDevices must be set",
        ),
    )

    namespaces: Annotated[list[ObjectName], Field(min_length=1, max_length=64), Keyed()] | None = (
        None
    )
    """Namespaces that share the budget, by name. Default: those of namespaceLabels, else all."""
    namespace_labels: Labels | None = None
    """Namespaces that share the budget, by label. Default: those of namespaces, else all."""
    max_per_hour: Annotated[Money, at_most(100000000)] | None = None
    """Most that they may cost together, in $/h, such as "500". Default: no limit."""
    max_devices: int | None = Field(default=None, ge=0, le=1000000)
    """Most devices that they may hold together. Default: no limit."""
    at_cap: AtCap | None = None
    """Hold stops growth; Degrade also takes from the least important. Default: Hold."""


class FleetBudgetStatus(ApiModel):
    """What is spent."""

    observed_generation: Generation = -1
    """The generation of the spec that this status answers."""
    conditions: Conditions = Field(default_factory=list)
    """Ready: the budget is enforced. WithinBudget: nothing is held back."""
    per_hour: str | None = Field(default=None, max_length=16)
    """What the bound deployments cost, in $/h."""
    devices: Count | None = None
    """Number of devices that they hold."""


class FleetBudget(Resource):
    """Caps in $/h and devices over the deployments of some namespaces."""

    KIND: ClassVar[str] = "FleetBudget"
    PLURAL: ClassVar[str] = "fleetbudgets"
    SINGULAR: ClassVar[str] = "fleetbudget"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("budget",)
    NAMESPACED: ClassVar[bool] = False
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column(
            name="$/h", path=".status.perHour", description="What the deployments cost, in $/h."
        ),
        Column(
            name="Max-$/h",
            path=".spec.maxPerHour",
            description="Most that they may cost together, in $/h.",
        ),
        Column(
            name="Devices",
            path=".status.devices",
            description="Number of devices that they hold.",
            kind="integer",
        ),
        Column(
            name="Max-devices",
            path=".spec.maxDevices",
            description="Most devices that they may hold together.",
            kind="integer",
        ),
        Column(
            name="Within",
            path='.status.conditions[?(@.type=="WithinBudget")].status',
            description="Whether the budget holds nothing back.",
        ),
        READY,
        AGE,
        Column(
            name="At-cap",
            path=".spec.atCap",
            description="What happens when the cap is reached.",
            wide=True,
        ),
        MESSAGE,
    )

    spec: FleetBudgetSpec
    """The caps."""
    status: FleetBudgetStatus | None = None
    """What is spent."""
