"""How much of its data sheet a device delivers, and what an engine adds of its own.

One set of constants for each device family and each engine, fitted together on two thirds of the
measured deployments in tests/bench/data and on the step times of all models there but one, and
checked on the rest; docs/accuracy.md has both errors, tests/bench/accuracy/fit.py the method.
Families without measurements carry rounded middle values, and their accelerators a lower
confidence.
"""

from dataclasses import dataclass, replace

from trimtab.errors import InvalidInput
from trimtab.models.hardware import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Shares of a peak, each in (0, 1], and latencies in seconds."""

    compute: float = 0.62
    """Of the dense 16-bit peak, in linear layers."""
    narrow_compute: float = 0.50
    """Of the 8-bit peak."""
    four_bit_compute: float = 0.39
    """Of the 4-bit peak."""
    expert: float = 0.45
    """What routed experts reach of the above: many small multiplications, sorting, padding."""
    narrow_expert: float = 0.40
    """The same at 8 bit."""
    four_bit_expert: float = 0.50
    """The same with 4-bit float weights, whatever they are multiplied in."""
    weight_read: float = 0.80
    """Of memory bandwidth, reading weights."""
    expert_read: float = 0.90
    """Of memory bandwidth, reading routed experts."""
    unpack: float = 4e-3
    """Bytes of 4-bit expert weights that are widened for each FLOP of the 16-bit peak, on a device
    that cannot multiply them as they are stored: its cores do that, so a sibling with faster memory
    is no faster at it."""
    kv_read: float = 0.80
    """Of memory bandwidth, reading keys and values."""
    attention: float = 0.55
    """Of the 16-bit peak, in prompt attention."""
    kernel_s: float = 5e-6
    """From one kernel's start to the next one's, beside its work."""
    reduce_s: float = 8e-6
    """One all-reduce of two devices, without the data."""
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
    bus: tuple[float, float, float] = (0.40, 0.45, 0.45)
    """Of the link, in all-reduces over 2, 4 and 8 devices."""


_PRIOR = Efficiency()

# fmt: off
_AMPERE = Efficiency(
    compute=0.892, expert=0.529, weight_read=0.757, expert_read=0.798, kv_read=0.752,
    attention=0.578, kernel_s=4.7e-6, reduce_s=7.61e-6, bus=(0.375, 0.546, 0.454),
    watts_per_flops=400 / 312e12,
)
# GA102, another chip: as GA100, but for the power that an A10 serving phi-4-mini showed.
_AMPERE_GA102 = replace(_AMPERE, bus=_PRIOR.bus, watts_per_flops=262 / 125e12)
_ADA = Efficiency(
    compute=0.67, narrow_compute=0.559, expert=0.623, narrow_expert=0.562, four_bit_expert=0.74,
    weight_read=0.788, expert_read=0.92, attention=0.578, kernel_s=2.62e-6, reduce_s=6.15e-6,
    bus=(0.594, 0.119, 0.0619), watts_per_flops=350 / 362e12,
)
# One run of vLLM 0.19 on an RTX 4090. Its data sheet counts a clock that the card exceeds.
_ADA_RTX = replace(
    _ADA, compute=1.0, narrow_compute=0.9, weight_read=0.90, kv_read=0.90, watts_per_flops=None
)
_HOPPER = Efficiency(
    compute=0.866, narrow_compute=0.689, expert=0.54, narrow_expert=0.424, four_bit_expert=0.446,
    weight_read=0.92, expert_read=0.869, unpack=2.86e-3, kv_read=0.92, attention=0.688,
    kernel_s=4.52e-6, reduce_s=5.21e-6, bus=(0.46, 0.621, 0.623), power_limited=0.732,
    watts_per_flops=700 / 989e12,
)
_BLACKWELL = Efficiency(
    compute=0.759, narrow_compute=0.581, four_bit_compute=0.5, expert=0.525, narrow_expert=0.317,
    four_bit_expert=0.95, weight_read=0.824, expert_read=0.92, unpack=1.15e-3,
    kv_read=0.916, attention=0.752, kernel_s=3.38e-6, reduce_s=6.12e-6, bus=(0.367, 0.424, 0.425),
    watts_per_flops=1000 / 2250e12,
)
# GB200 multiplies long prompts in 16 bit at 1.0 to 1.1 PFLOP/s, where GB300 reaches 1.8, as under
# a power limit, and exchanges between two of its devices get half; all else is its siblings'.
_BLACKWELL_GB200 = replace(
    _BLACKWELL, compute=0.596, narrow_compute=0.497, bus=(0.217, 0.434, 0.459)
)
_BLACKWELL_RTX = Efficiency(
    compute=0.872, narrow_compute=0.83, expert=0.551, narrow_expert=0.496, four_bit_expert=0.404,
    weight_read=0.856, expert_read=0.919, kv_read=0.838, attention=0.648, kernel_s=3.37e-6,
    reduce_s=9.47e-6, bus=(0.558, 0.409, 0.327), sustained=0.77,
)
# Kernels of the Arc Pro B60 alone, timed in SYCL: three times as long from one to the next.
_XE2 = Efficiency(
    compute=0.95, expert=0.653, expert_read=0.867, weight_read=0.92, kv_read=0.92, unpack=4.2e-3,
    four_bit_expert=0.411, attention=0.709, kernel_s=18.1e-6, reduce_s=10.7e-6,
    bus=(0.583, 0.533, 0.548),
)
# fmt: on

_FAMILIES = {
    "ampere": _AMPERE,
    "ampere-ga102": _AMPERE_GA102,
    "ada": _ADA,
    "ada-rtx": _ADA_RTX,
    "hopper": _HOPPER,
    "blackwell": _BLACKWELL,
    "blackwell-gb200": _BLACKWELL_GB200,
    "blackwell-rtx": _BLACKWELL_RTX,
    "xe2": _XE2,
    # A T4 carries the units of a V100, made alike, at a quarter of its power.
    "turing": Efficiency(watts_per_flops=300 / 125e12),
    # MLPerf v4.1 offline, MI300X: 16 and 8 bit reach less of their peak than on NVIDIA's.
    "cdna3": Efficiency(compute=0.47, narrow_compute=0.36),
    "cdna4": Efficiency(compute=0.47, narrow_compute=0.36),
}

_PCIE_LINK = 64e9
"""Links up to this one-way bandwidth, in bytes/s, are PCIe 5 x16 or less."""
_PCIE_BUS = (0.49, 0.21, 0.14)
"""PCIe collapses as devices are added: between what L40S and RTX PRO 6000 reach."""
_PCIE_FAMILIES = frozenset({"ada", "ada-rtx", "blackwell-rtx", "xe2"})
"""Families that were measured over PCIe themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Time that a serving engine spends beside the device. Seconds, unless said otherwise."""

    step_s: float
    """One step: scheduling and sampling that do not overlap with the device."""
    row_s: float
    """One sequence in a step."""
    request_s: float
    """One request: parsing, tokenising, the first answer."""
    first_token_steps: float
    """Steps between a first token and its arrival at the client in a closed loop, whose users fall
    into step. Public recipes of SGLang and TensorRT-LLM stream in groups of tokens, which shows
    here."""
    late_steps: float = 1.0
    """The same for requests that arrive at random, and tokens that are streamed one by one: the
    next step is scheduled already. Three open-loop sweeps show 0.5 to 1.4."""
    wave: float = 0.05
    """Share of the time to work off everybody's prompt that a closed loop adds to the mean TTFT.
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
        step_s=0.261e-3,
        row_s=7.4e-6,
        request_s=10.7e-3,
        first_token_steps=4.88,
    ),
    "sglang": Engine(
        step_s=0.341e-3,
        row_s=17.3e-6,
        request_s=11.7e-3,
        first_token_steps=28.9,
    ),
    "trtllm": Engine(
        step_s=0.191e-3,
        row_s=6.99e-6,
        request_s=34.3e-3,
        first_token_steps=9.76,
    ),
    NO_ENGINE: Engine(step_s=0.0, row_s=0.0, request_s=0.0, first_token_steps=0.0, late_steps=0.0),
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
    return _FAMILIES.get(accelerator.family, _PRIOR)


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
    slow = accelerator.link_bandwidth <= _PCIE_LINK
    measured = not slow or accelerator.family in _PCIE_FAMILIES
    shares = efficiency_of(accelerator).bus if measured else _PCIE_BUS
    if tensor <= 2:
        return shares[0]
    return shares[1] if tensor <= 4 else shares[2]
