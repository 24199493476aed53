"""The constants that are fitted, each with its middle value, its most, and what it concerns."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from trimtab.performance import coefficients, efficiency
from trimtab.performance.capacity import replica_of
from trimtab.performance.steptime import step_model

FAMILIES = ("ampere", "ada", "hopper", "blackwell", "blackwell-rtx")
SIBLINGS = {"blackwell-gb200": ("blackwell", ("compute", "narrow_compute", "bus"))}
"""Families that share the constants of another one, but for those named."""

KERNELS_ONLY = ("xe2",)
"""Families that decide nothing but their own constants."""

_FIXED = frozenset({"sustained", "power_limited", "watts_per_flops", "bus"})
_POWER_LIMITED = 0.77
"""Middle of what the power limit leaves: the one other card of which it is known, `sustained`."""
_MOST = {"weight_read": 0.92, "expert_read": 0.92, "kv_read": 0.92, "attention": 0.8}
"""No device delivers more of its bandwidth, in the best published measurements."""
_STEP = {"step_s": 0.3e-3, "row_s": 8e-6}
_FIRST = {"request_s": 20e-3, "first_token_steps": 5.0}
_COUNTS = {
    "_EXPERT_KERNELS": 3.0,
    "_LATENT_KERNELS": 6.0,
    "_SPARSE_KERNELS": 12.0,
    "_LINEAR_KERNELS": 10.0,
    "_NARROW_KERNELS": 4.0,
    "_EXPERT_SKEW": 0.5,
    "_EXPERT_FILL": 128.0,
}
"""Where what belongs to no device starts: counted in the code of vLLM and SGLang, or assumed."""


@dataclass(frozen=True)
class Constant:
    """One constant: of a family, of an engine, or of coefficients.py."""

    home: str
    field: str
    index: int = 0

    @property
    def name(self) -> str:
        """Return what it is called in a list."""
        return f"{self.field}[{self.index}]" if self.field == "bus" else self.field

    @property
    def middle(self) -> float:
        """Return the value of a device or an engine of which nothing is known."""
        if self.home in efficiency._FAMILIES:
            if self.field == "power_limited":
                return _POWER_LIMITED
            if self.field != "bus":
                return float(getattr(efficiency._PRIOR, self.field))
            over_pcie = self.home in efficiency._PCIE_FAMILIES
            return (efficiency._PCIE_BUS if over_pcie else efficiency._PRIOR.bus)[self.index]
        return (_STEP | _FIRST | _COUNTS)[self.field]

    @property
    def most(self) -> float:
        """Return the largest sensible value."""
        if self.home not in efficiency._FAMILIES or self.field.endswith("_s"):
            return math.inf
        return _MOST.get(self.field, 0.95)

    @property
    def families(self) -> tuple[str, ...]:
        """Return the families that share it; none unless it is a family's."""
        if self.home not in efficiency._FAMILIES:
            return ()
        heirs = [
            family
            for family, (elder, own) in SIBLINGS.items()
            if elder == self.home and self.field not in own
        ]
        return (self.home, *heirs)

    def get(self) -> float:
        """Return its value now."""
        if self.home in efficiency._FAMILIES:
            value = getattr(efficiency._FAMILIES[self.home], self.field)
            return float(value[self.index] if self.field == "bus" else value)
        if self.home in efficiency.ENGINES:
            return float(getattr(efficiency.ENGINES[self.home], self.field))
        return float(getattr(coefficients, self.field))

    def set(self, value: float) -> None:
        """Give it another value, for this process only."""
        for home in self.families:
            family = efficiency._FAMILIES[home]
            changed: Any = value
            if self.field == "bus":
                changed = tuple(
                    value if i == self.index else share for i, share in enumerate(family.bus)
                )
            efficiency._FAMILIES[home] = replace(family, **{self.field: changed})
        if self.home in efficiency.ENGINES:
            engine = replace(efficiency.ENGINES[self.home], **{self.field: value})
            efficiency.ENGINES[self.home] = engine
        elif not self.families:
            setattr(coefficients, self.field, value)
        step_model.cache_clear()
        replica_of.cache_clear()

    def concerns(self, family: str, engine: str) -> bool:
        """Return whether it can change a step of `engine` on a device of `family`."""
        if self.families:
            return family in self.families
        return self.home not in efficiency.ENGINES or engine == self.home


def of_steps() -> list[Constant]:
    """Return every constant that step times decide."""
    found = [
        Constant(family, field.name)
        for family in FAMILIES
        for field in fields(efficiency.Efficiency)
        if field.name not in _FIXED
    ]
    found += [
        Constant(family, name)
        for family, (_, own) in SIBLINGS.items()
        for name in own
        if name != "bus"
    ]
    found += [Constant(family, "bus", i) for family in (*FAMILIES, *SIBLINGS) for i in range(3)]
    return found + _of_engines(_STEP) + [Constant("model", name) for name in _COUNTS]


def of_first_tokens() -> list[Constant]:
    """Return every constant that only the time to the first token decides."""
    return _of_engines(_FIRST)


def of_limits() -> list[Constant]:
    """Return what power limits leave: of Hopper, for only it served dense 16-bit models."""
    return [Constant("hopper", "power_limited")]


def of_kernels() -> list[Constant]:
    """Return every constant of devices of which only kernels were timed, in another toolkit."""
    own = _FIXED | {"narrow_compute", "four_bit_compute", "narrow_expert"}  # it has no such units
    found = [
        Constant(family, field.name)
        for family in KERNELS_ONLY
        for field in fields(efficiency.Efficiency)
        if field.name not in own
    ]
    return found + [Constant(family, "bus", i) for family in KERNELS_ONLY for i in range(3)]


def _of_engines(names: dict[str, float]) -> list[Constant]:
    engines = [engine for engine in efficiency.ENGINES if engine != efficiency.NO_ENGINE]
    return [Constant(engine, name) for engine in engines for name in names]
