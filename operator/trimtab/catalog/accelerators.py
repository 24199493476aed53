"""Accelerators by name: figures from the data file, or from the pool that brings its own."""

import math
import re
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Any

import yaml

from trimtab.api.acceleratorpool import Hardware
from trimtab.models.hardware import Accelerator

FITTED_FAMILIES = frozenset({"ampere", "ada", "ada-rtx", "hopper", "blackwell", "blackwell-rtx"})
"""Families whose efficiencies are fitted to measurements; see performance/efficiency.py. Not those
of which only kernels were timed: no deployment of an Arc Pro B60 was measured, and those of the
GB200 cannot be followed (docs/accuracy.md)."""
GENERIC_FAMILY = "generic"
DEFAULT_LINK_GBS = 32
"""PCIe 4 x16, one way, in GB/s."""
DEFAULT_ISLAND = 8
"""Devices of the usual node."""

_MAKERS = ("nvidia-", "amd-", "intel-", "google-", "aws-", "tesla-", "geforce-", "instinct-")
"""Words before the name of a device in driver tools and node labels."""
_FORM = re.compile(
    r"oam|nps[0-9]|[sc]px|cts|hbm[23]e?|gddr[67]x?|[0-9]+w"
    r"|superchip|grace|hopper|blackwell|server|workstation|edition|gpu"
)
"""Words that tell a board's mode, memory type, power or architecture, and no other device."""
_MEMORY = re.compile(r"([0-9]+)gi?b")
_SAME_MEMORY = 0.1
"""Most by which the memory in a name may differ from the device's: makers round, or name less."""
_UNVERIFIED = "mem"
_DECISIVE = ("memory_gib", "bandwidth_gbs", "bf16_tflops")


def get(name: str) -> Accelerator | None:
    """Return the accelerator called `name`, or None.

    Catalogue names, with or without the vendor, short names and other common spellings do, and
    those with words of the board beside them, as in "AMD Instinct MI300X-NPS1-SPX-192GB-750W".
    """
    key = _key(name)
    while key not in _by_spelling() and key.startswith(_MAKERS):
        key = key.partition("-")[2]
    return _by_spelling().get(key) or _within(tuple(key.split("-")))


def _within(words: tuple[str, ...]) -> Accelerator | None:
    """Return the device that some of `words` name where the rest only describes its board."""
    best: tuple[int, Accelerator] | None = None
    for spelling, accelerator in _by_spelling().items():
        named = spelling.split("-")
        rest = [word for word in words if word not in named]
        if len(words) - len(rest) < len(named) or not all(_describes(w, accelerator) for w in rest):
            continue
        if best is None or len(named) > best[0]:
            best = len(named), accelerator
    return best[1] if best else None


def _describes(word: str, accelerator: Accelerator) -> bool:
    """Return whether `word` tells no other device than `accelerator`."""
    memory = _MEMORY.fullmatch(word)
    if memory is None:
        return _FORM.fullmatch(word) is not None
    stated = int(memory[1]) * 1e9 / accelerator.memory_bytes
    return abs(math.log(stated)) <= _SAME_MEMORY


def names() -> tuple[str, ...]:
    """Return all catalogue names, in the order of the data file."""
    return tuple(_by_name())


def alike(name: str) -> tuple[str, ...]:
    """Return up to three spellings that look like `name`, for whoever misspelt one."""
    return tuple(get_close_matches(_key(name), _by_spelling(), n=3, cutoff=0.7))


def from_hardware(name: str, hardware: Hardware, resource_name: str) -> Accelerator:
    """Return an accelerator from figures that its pool states.

    A device that the catalogue does not know is of the generic family and of low confidence.
    """
    known = get(name)
    return Accelerator(
        name=name,
        short_name=known.short_name if known else name,
        vendor=known.vendor if known else "unknown",
        family=known.family if known else GENERIC_FAMILY,
        memory_bytes=hardware.memory_gib * 2.0**30,
        bandwidth=hardware.bandwidth_gbs * 1e9,
        bf16_flops=hardware.bf16_tflops * 1e12,
        fp8_flops=None if hardware.fp8_tflops is None else hardware.fp8_tflops * 1e12,
        int8_ops=known.int8_ops if known else None,
        fp4_flops=known.fp4_flops if known else None,
        link_bandwidth=(hardware.link_gbs or DEFAULT_LINK_GBS) * 1e9,
        watts=hardware.watts or (known.watts if known else None),
        resource_name=resource_name,
        island=known.island if known else DEFAULT_ISLAND,
        network_bandwidth=known.network_bandwidth if known else None,
        confidence=known.confidence if known else 0.5,
    )


@cache
def _by_name() -> dict[str, Accelerator]:
    return {name: _accelerator(name, entry) for name, entry in _entries().items()}


@cache
def _by_spelling() -> dict[str, Accelerator]:
    spellings: dict[str, Accelerator] = {}
    for name, accelerator in _by_name().items():
        bare = name.removeprefix(f"{accelerator.vendor}-")
        aliases = _entries()[name].get("aliases", ())
        for spelling in (name, bare, accelerator.short_name, *aliases):
            spellings.setdefault(_key(spelling), accelerator)
    return spellings


def _key(spelling: str) -> str:
    return re.sub(r"[\s_-]+", "-", spelling.strip().lower())


@cache
def _entries() -> dict[str, dict[str, Any]]:
    text = resources.files(__package__).joinpath("data/accelerators.yaml").read_text("utf-8")
    entries: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return entries


def _accelerator(name: str, entry: dict[str, Any]) -> Accelerator:
    def figure(key: str, scale: float) -> float | None:
        return entry[key][0] * scale if key in entry else None

    def required(key: str, scale: float) -> float:
        return float(entry[key][0] * scale)

    return Accelerator(
        name=name,
        short_name=entry["short"],
        vendor=entry["vendor"],
        family=entry["family"],
        memory_bytes=required("memory_gib", 2.0**30),
        bandwidth=required("bandwidth_gbs", 1e9),
        bf16_flops=required("bf16_tflops", 1e12),
        fp8_flops=figure("fp8_tflops", 1e12),
        int8_ops=figure("int8_tops", 1e12),
        fp4_flops=figure("fp4_tflops", 1e12),
        link_bandwidth=required("link_gbs", 1e9),
        watts=figure("watts", 1.0),
        resource_name=entry["resource"],
        island=entry.get("island", DEFAULT_ISLAND),
        network_bandwidth=figure("network_gbs", 1e9),
        confidence=_confidence(entry),
    )


def _confidence(entry: dict[str, Any]) -> float:
    """1 for a fitted family with sourced figures, 0.8 with unverified ones, 0.6 if unfitted."""
    if entry["family"] not in FITTED_FAMILIES:
        return 0.6
    verified = all(entry[key][1] != _UNVERIFIED for key in _DECISIVE)
    return 1.0 if verified else 0.8
