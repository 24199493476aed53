"""How much of its data sheet a device delivers, and what an engine adds of its own.

One set of constants for each device family and each engine, fitted together on two thirds of the
measured deployments in tests/bench/data and on the step times of all models there but one, and
checked on the rest; docs/accuracy.md has both errors, tests/bench/accuracy/fit.py the method.
Families without measurements carry the medians of those with, and their accelerators a lower
confidence; docs/accuracy.md says how far off each measured family would be that way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from statistics import median_high, median_low
from typing import Any

from trimtab.errors import InvalidInput
from trimtab.models.hardware import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Shares of a peak, each in (0, 1], and latencies in seconds."""

    compute: float
    """Of the dense 16-bit peak, in linear layers."""
    narrow_compute: float
    """Of the 8-bit peak."""
    four_bit_compute: float
    """Of the 4-bit peak."""
    expert: float
    """What routed experts reach of the above: many small multiplications, sorting, padding."""
    narrow_expert: float
    """The same at 8 bit."""
    four_bit_expert: float
    """The same with 4-bit float weights, whatever they are multiplied in."""
    weight_read: float
    """Of memory bandwidth, reading weights."""
    expert_read: float
    """Of memory bandwidth, reading routed experts."""
    unpack: float
    """Bytes of 4-bit expert weights that are widened for each FLOP of the 16-bit peak, on a device
    that cannot multiply them as they are stored: its cores do that, so a sibling with faster memory
    is no faster at it."""
    kv_read: float
    """Of memory bandwidth, reading keys and values."""
    attention: float
    """Of the 16-bit peak, in prompt attention."""
    kernel_s: float
    """From one kernel's start to the next one's, beside its work."""
    reduce_s: float
    """One all-reduce of two devices, without the data."""
    bus: tuple[float, float, float]
    """Of the link, in all-reduces over 2, 4 and 8 devices."""
    pcie_bus: tuple[float, float, float]
    """The same over PCIe, which collapses as devices are added."""
    sustained: float = 1.0
    """Of `compute`, `attention` and the expert shares, what remains in steady serving where the
    constants come from kernels timed alone: cards at their power limit slow down."""
    power_limited: float | None = None
    """Of `compute` and of as much at 8 and 4 bit, what steady serving is left in steps that do
    nothing but multiply: the device is at its power limit, and its clock falls. A multiplication
    costs energy by the width of its numbers, so 8 bit, which reaches less of its peak, draws less,
    as do experts, and a step that waits for memory or other devices besides. None: not known."""
    watts_per_flops: float | None = None
    """Watts for each FLOP/s of its 16-bit peak that the measured device draws by its data sheet: a
    sibling with less is slower in computing. None: not known."""


# fmt: off
_MEASURED: dict[str, dict[str, Any]] = {
    "ampere": dict(
        compute=0.892, expert=0.529, weight_read=0.758, expert_read=0.797, kv_read=0.752,
        attention=0.578, kernel_s=4.71e-6, reduce_s=7.61e-6, bus=(0.375, 0.546, 0.454),
        watts_per_flops=400 / 312e12,
    ),
    "ada": dict(
        compute=0.671, narrow_compute=0.559, expert=0.622, narrow_expert=0.561,
        four_bit_expert=0.746, weight_read=0.788, expert_read=0.92, kv_read=0.8, attention=0.577,
        kernel_s=2.62e-6, reduce_s=6.14e-6, pcie_bus=(0.594, 0.119, 0.0619),
        watts_per_flops=350 / 362e12,
    ),
    "hopper": dict(
        compute=0.858, narrow_compute=0.683, expert=0.546, narrow_expert=0.427,
        four_bit_expert=0.449, weight_read=0.92, expert_read=0.872, unpack=2.86e-3, kv_read=0.92,
        attention=0.676, kernel_s=4.59e-6, reduce_s=5.22e-6, bus=(0.456, 0.608, 0.613),
        power_limited=0.732, watts_per_flops=700 / 989e12,
    ),
    "blackwell": dict(
        compute=0.76, narrow_compute=0.577, four_bit_compute=0.49, expert=0.525,
        narrow_expert=0.317, four_bit_expert=0.95, weight_read=0.823, expert_read=0.92,
        unpack=1.14e-3, kv_read=0.917, attention=0.747, kernel_s=3.41e-6, reduce_s=6.09e-6,
        bus=(0.367, 0.421, 0.422), watts_per_flops=1000 / 2250e12,
    ),
    "blackwell-rtx": dict(
        compute=0.872, narrow_compute=0.83, expert=0.551, narrow_expert=0.496,
        four_bit_expert=0.404, weight_read=0.857, expert_read=0.918, kv_read=0.838,
        attention=0.648, kernel_s=3.37e-6, reduce_s=9.47e-6, pcie_bus=(0.558, 0.409, 0.327),
        sustained=0.77,
    ),
    # Kernels of the Arc Pro B60 alone, timed in SYCL: three times as long from one to the next.
    "xe2": dict(
        compute=0.95, expert=0.653, expert_read=0.865, weight_read=0.92, kv_read=0.92,
        unpack=4.2e-3, four_bit_expert=0.41, attention=0.709, kernel_s=18.1e-6, reduce_s=10.8e-6,
        pcie_bus=(0.583, 0.533, 0.548),
    ),
}
# fmt: on
"""What rows decide of each family; all else of it is as in `middle`."""

_LIMITS = frozenset({"sustained", "power_limited"})
_OWN = _LIMITS | {"watts_per_flops"}
"""Fields that say nothing of another family whose limits were looked at."""


def middle(without: str | None = None) -> Efficiency:
    """Return the median of the measured families but `without`, constant by constant.

    What only that one has units for comes from it all the same. Medians, since there are few
    families, and one of them was timed in another toolkit.
    """
    medians: dict[str, Any] = {}
    for name in (field.name for field in fields(Efficiency) if field.name not in _OWN):
        known = {family: own[name] for family, own in _MEASURED.items() if name in own}
        others = [value for family, value in known.items() if family != without]
        values = others or list(known.values())
        if isinstance(values[0], tuple):
            medians[name] = tuple(_median(shares) for shares in zip(*values, strict=True))
        else:
            medians[name] = _median(values)
    return Efficiency(**medians)


def unknown(without: str | None = None) -> Efficiency:
    """Return what an unknown device carries; `without` a family, to see what it would be.

    That is the middle, and as little at the power limit as with the two of which that is known.
    """
    left = [
        own[limit]
        for family, own in _MEASURED.items()
        if family != without
        for limit in _LIMITS & own.keys()
    ]
    return replace(middle(without), power_limited=_median(left))


def _median(values: Sequence[float]) -> float:
    """Return the median, between two values their geometric mean."""
    return math.sqrt(median_low(values) * median_high(values))


_UNKNOWN, _MIDDLE = unknown(), middle()
_FAMILIES = {family: replace(_MIDDLE, **own) for family, own in _MEASURED.items()}
_FAMILIES |= {
    # GA102, another chip: as GA100, but for the power that an A10 serving phi-4-mini showed.
    "ampere-ga102": replace(_FAMILIES["ampere"], bus=_MIDDLE.bus, watts_per_flops=262 / 125e12),
    # One run of vLLM 0.19 on an RTX 4090. Its data sheet counts a clock that the card exceeds.
    "ada-rtx": replace(
        _FAMILIES["ada"],
        compute=1.0,
        narrow_compute=0.9,
        weight_read=0.90,
        kv_read=0.90,
        watts_per_flops=None,
    ),
    # GB200 multiplies long prompts in 16 bit at 1.0 to 1.1 PFLOP/s, where GB300 reaches 1.8, as
    # under a power limit, and exchanges between two of its devices get half; all else is its
    # siblings'.
    "blackwell-gb200": replace(
        _FAMILIES["blackwell"], compute=0.597, narrow_compute=0.498, bus=(0.217, 0.434, 0.459)
    ),
    # A T4 carries the units of a V100, made alike, at a quarter of its power.
    "turing": replace(_MIDDLE, watts_per_flops=300 / 125e12),
    # MLPerf v4.1 offline, MI300X: 16 and 8 bit reach less of their peak than on NVIDIA's.
    "cdna3": replace(_MIDDLE, compute=0.47, narrow_compute=0.36),
    "cdna4": replace(_MIDDLE, compute=0.47, narrow_compute=0.36),
}

_PCIE_LINK = 64e9
"""Links up to this one-way bandwidth, in bytes/s, are PCIe 5 x16 or less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Time that a serving engine spends beside the device. Seconds, unless said otherwise."""

    step_s: float
    """One step: scheduling and sampling that do not overlap with the device."""
    row_s: float
    """One sequence in a step."""
    first_token_steps: float
    """Steps between a first token and its arrival at the client in a closed loop, whose users fall
    into step. Public recipes of SGLang and TensorRT-LLM stream in groups of tokens, which shows
    here; no group is longer than the answer."""
    request_s: float = 10e-3
    """One request: network, parsing, tokenising, the first answer. No engine's own: InferenceX's
    deployments by themselves ask for 10 ms of vLLM, 16 of SGLang and 7 of TensorRT-LLM, and vLLM
    on an idle H100 answers token ids from beside it 3 to 15 ms after the device is done."""
    late_steps: float = 1.0
    """The same for requests that arrive at random, and tokens that are streamed one by one: the
    next step is scheduled already. Three open-loop sweeps show 0.5 to 1.4."""
    gather_steps: float = 0.0
    """Steps for which a prompt waits at most until each of several ranks of attention has one. In
    step, they are as slow as the one with prompts, so public recipes of TensorRT-LLM switch this on
    (its `attention_dp_config`, off by default); its waits end after 50. In a closed loop alone."""
    wave: float = 0.05
    """Share of the time to work off all others' prompts that a closed loop adds to the mean TTFT.
    Its users start together, and wait half of that time for their first token: 1 / (2 rounds),
    with the ten requests a user that such benchmarks send."""


TURN_STEP_S, TURN_ROW_S = 0.75e-3, 6.5e-6
"""What an engine that takes turns with the device adds to each step, and for each sequence in it:
work of its scheduler that others do while the device computes. From vLLM 0.11 on an H100 with its
prompts cached, whose steps are little else; the same sweep without a cache is held out."""

NO_ENGINE = "none"
"""Kernels alone, as a benchmark of single operations times them."""

ENGINES = {
    "vllm": Engine(
        step_s=0.265e-3,
        row_s=7.47e-6,
        first_token_steps=4.89,
    ),
    "sglang": Engine(
        step_s=0.345e-3,
        row_s=17.1e-6,
        first_token_steps=27.0,
    ),
    "trtllm": Engine(
        step_s=0.197e-3,
        row_s=6.92e-6,
        first_token_steps=10.6,
        gather_steps=50.0,
    ),
    NO_ENGINE: Engine(step_s=0.0, row_s=0.0, first_token_steps=0.0, request_s=0.0, late_steps=0.0),
}
"""By EngineSettings.name."""


def engine_named(name: str) -> Engine:
    """Return the constants of the engine called `name`.

    Raises:
        InvalidInput: No engine of that name is known.
    """
    if name not in ENGINES:
        known = ", ".join(ENGINES)
        raise InvalidInput("engine", f"{name!r} is unknown", f"Use one of {known}")
    return ENGINES[name]


def efficiency_of(accelerator: Accelerator) -> Efficiency:
    """Return the constants of the family of `accelerator`."""
    return _FAMILIES.get(accelerator.family, _UNKNOWN)


def power_share(accelerator: Accelerator) -> float:
    """Return the share of its family's speed in computing that a device's power allows, up to 1.

    Cards of 70 to 400 W carry the units of devices that draw twice as much, and slow down.
    """
    full = efficiency_of(accelerator).watts_per_flops
    if accelerator.watts is None or full is None:
        return 1.0
    return min(1.0, accelerator.watts / (full * accelerator.bf16_flops))


def bus_efficiency(accelerator: Accelerator, tensor: int) -> float:
    """Return the share of the link that an all-reduce over `tensor` devices delivers."""
    own = efficiency_of(accelerator)
    shares = own.pcie_bus if accelerator.link_bandwidth <= _PCIE_LINK else own.bus
    if tensor <= 2:
        return shares[0]
    return shares[1] if tensor <= 4 else shares[2]
