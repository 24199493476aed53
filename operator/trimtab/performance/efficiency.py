"""How much of its data sheet a device delivers: one set of constants per device family.

Fitted to kernel measurements (research/models.md 1.2: AIConfigurator's tables, 80 points per
system); `compute` is lowered to what whole engines reach there. Families without measurements get
the shipping prior of that page, and their accelerators carry a lower confidence.
"""

from dataclasses import dataclass

from trimtab.models.hardware import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Shares of peak, each in (0, 1], and overheads in seconds."""

    compute: float = 0.62
    """Of the dense peak, in linear layers."""
    expert_compute: float = 0.5
    """Further factor on `compute` in routed experts."""
    weight_read: float = 0.80
    """Of memory bandwidth, reading weights."""
    kv_read: float = 0.75
    """Of memory bandwidth, reading keys and values."""
    attention: float = 0.45
    """Of the 16-bit peak, in prompt attention."""
    step_s: float = 1.2e-3
    """One engine step: scheduling, launch, sampling."""
    sequence_s: float = 5e-6
    """One row of the batch: sampling and detokenisation."""
    reduce_s: float = 8e-6
    """One all-reduce of two devices, without the data."""
    bus: tuple[float, float, float] = (0.42, 0.55, 0.65)
    """Of the link, in all-reduces over 2, 4 and 8 devices."""


PCIE_LINK = 64e9
"""Links up to this one-way bandwidth (bytes/s) are PCIe 5 x16 or less: shared, without a switch."""

_PRIOR = Efficiency()
_PCIE_BUS = (0.53, 0.28, 0.15)
"""Collapses as devices are added: between L40S (.54 .12 .06) and RTX PRO 6000 (.52 .43 .35)."""

_FAMILIES = {
    "ampere": Efficiency(
        compute=0.71, expert_compute=0.35, weight_read=0.73, kv_read=0.69, attention=0.59,
        step_s=1.8e-3, reduce_s=12e-6, bus=(0.34, 0.50, 0.48),
    ),
    "ada": Efficiency(
        compute=0.53, expert_compute=0.69, weight_read=0.80, kv_read=0.72, attention=0.44,
        step_s=1.0e-3,
    ),
    "hopper": Efficiency(
        compute=0.65, expert_compute=0.50, weight_read=0.82, kv_read=0.84, attention=0.56,
        step_s=1.4e-3, bus=(0.42, 0.57, 0.70),
    ),
    "blackwell": Efficiency(
        compute=0.58, expert_compute=0.54, weight_read=0.80, kv_read=0.83, attention=0.50,
        step_s=1.1e-3, reduce_s=12e-6, bus=(0.38, 0.53, 0.59),
    ),
    "blackwell-rtx": Efficiency(
        compute=0.57, expert_compute=0.39, weight_read=0.84, kv_read=0.74, attention=0.50,
        step_s=1.0e-3, reduce_s=24e-6,
    ),
}  # fmt: skip


def efficiency_of(accelerator: Accelerator) -> Efficiency:
    """Return the constants of the family of `accelerator`."""
    return _FAMILIES.get(accelerator.family, _PRIOR)


def bus_efficiency(accelerator: Accelerator, tensor: int) -> float:
    """Return the share of the link that an all-reduce over `tensor` devices delivers."""
    slow = accelerator.link_bandwidth <= PCIE_LINK
    shares = _PCIE_BUS if slow else efficiency_of(accelerator).bus
    if tensor <= 2:
        return shares[0]
    return shares[1] if tensor <= 4 else shares[2]
