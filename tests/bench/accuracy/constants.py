"""The constants that are fitted, each with where it starts, its most, and what it concerns."""

import math
from dataclasses import dataclass, replace
from typing import Any

from trimtab.models.hardware import Accelerator
from trimtab.performance import coefficients, efficiency
from trimtab.performance.capacity import replica_of
from trimtab.performance.steptime import step_model

FAMILIES = ("ampere", "ada", "hopper", "blackwell", "blackwell-rtx")
SIBLINGS = {"blackwell-gb200": ("blackwell", ("compute", "narrow_compute", "bus"))}
"""Families that share the constants of another one, but for those named."""

KERNELS_ONLY = ("xe2",)
"""Families that decide nothing but their own constants."""

_BUSES = ("bus", "pcie_bus")
_FIXED = frozenset({"sustained", "power_limited", "watts_per_flops"})
_START = {
    "compute": 0.62, "narrow_compute": 0.50, "four_bit_compute": 0.39, "expert": 0.45,
    "narrow_expert": 0.40, "four_bit_expert": 0.50, "weight_read": 0.80, "expert_read": 0.90,
    "unpack": 4e-3, "kv_read": 0.80, "attention": 0.55, "kernel_s": 5e-6, "reduce_s": 8e-6,
    "bus": (0.40, 0.45, 0.45), "pcie_bus": (0.49, 0.21, 0.14), "power_limited": 0.77,
}  # fmt: skip
"""Where every family starts, and is pulled to: round figures assumed before the fit, none of them
another family's, so that a family can be left out as if nobody had measured it."""
_MOST = {"weight_read": 0.92, "expert_read": 0.92, "kv_read": 0.92, "attention": 0.8}
"""No device delivers more of its bandwidth, in the best published measurements."""
_STEP = {"step_s": 0.3e-3, "row_s": 8e-6}
_FIRST = {"first_token_steps": 5.0}
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
        return f"{self.field}[{self.index}]" if self.field in _BUSES else self.field

    @property
    def start(self) -> float:
        """Return what is assumed before any row is seen."""
        start: Any = (_START | _STEP | _FIRST | _COUNTS)[self.field]
        return float(start[self.index] if self.field in _BUSES else start)

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
            return self._of(efficiency._FAMILIES[self.home])
        if self.home in efficiency.ENGINES:
            return float(getattr(efficiency.ENGINES[self.home], self.field))
        return float(getattr(coefficients, self.field))

    def set(self, value: float) -> None:
        """Give it another value, for this process only."""
        for home in self.families:
            family = efficiency._FAMILIES[home]
            changed: Any = value
            if self.field in _BUSES:
                shares = getattr(family, self.field)
                changed = tuple(
                    value if i == self.index else share for i, share in enumerate(shares)
                )
            efficiency._FAMILIES[home] = replace(family, **{self.field: changed})
        if self.home in efficiency.ENGINES:
            engine = replace(efficiency.ENGINES[self.home], **{self.field: value})
            efficiency.ENGINES[self.home] = engine
        elif not self.families:
            setattr(coefficients, self.field, value)
        step_model.cache_clear()
        replica_of.cache_clear()

    def _of(self, share: efficiency.Efficiency) -> float:
        value = getattr(share, self.field)
        return float(value[self.index] if self.field in _BUSES else value)

    def concerns(self, family: str, engine: str) -> bool:
        """Return whether it can change a step of `engine` on a device of `family`."""
        if self.families:
            return family in self.families
        return self.home not in efficiency.ENGINES or engine == self.home


def unmeasured(accelerator: Accelerator) -> Accelerator:
    """Return `accelerator` as if nobody had measured its family: an unknown one by all others.

    Data sheets and the middle of the other families are all that is left.
    """
    family = accelerator.family
    elder = SIBLINGS[family][0] if family in SIBLINGS else family
    others = f"unknown beside all but {elder}"
    efficiency._FAMILIES[others] = efficiency.unknown(without=elder)
    return replace(accelerator, family=others)


def of_steps() -> list[Constant]:
    """Return every constant that step times decide."""
    found = [one for family in FAMILIES for one in _of_family(family)]
    for sibling, (_, own) in SIBLINGS.items():
        found += [one for field in own for one in _entries(sibling, field)]
    return found + _of_engines(_STEP) + [Constant("model", name) for name in _COUNTS]


def of_first_tokens() -> list[Constant]:
    """Return every constant that only the time to the first token decides."""
    return _of_engines(_FIRST)


def of_limits() -> list[Constant]:
    """Return what power limits leave: of Hopper, for only it served dense 16-bit models."""
    return [Constant("hopper", "power_limited")]


def of_kernels() -> list[Constant]:
    """Return every constant of devices of which only kernels were timed, in another toolkit."""
    return [one for family in KERNELS_ONLY for one in _of_family(family)]


def _of_family(family: str) -> list[Constant]:
    """Return what rows decide of `family`: it lacks units for the rest, or nobody timed them."""
    decided = [field for field in efficiency._MEASURED[family] if field not in _FIXED]
    return [one for field in decided for one in _entries(family, field)]


def _entries(family: str, field: str) -> list[Constant]:
    return [Constant(family, field, i) for i in range(3 if field in _BUSES else 1)]


def _of_engines(names: dict[str, float]) -> list[Constant]:
    engines = [engine for engine in efficiency.ENGINES if engine != efficiency.NO_ENGINE]
    return [Constant(engine, name) for engine in engines for name in names]
