"""The one kind of array that forecasts are made of, and how its numbers are kept short."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SURE = 1e-6
"""Distance from one half, of a last digit, from which on the nearest is known in spite of the
rounding of the product: that is below 1e-9 of one for up to six digits."""
_LEAST, _MOST = 1e-12, 1e6
"""Sizes of what is rounded at once: every power of ten that they need is exact."""
_POWERS = np.array([float(f"1e{n}") for n in range(18)])


def rounded(values: Floats, digits: int) -> Floats:
    """Return `values` to so many digits, at most 6, as by way of text: what is kept shall be small.

    Of thousands at once it takes a tenth of the time. A quotient of two whole numbers is the number
    nearest to that decimal, as is what text is read as; what lies half way is left to text.
    """
    sizes = np.abs(values)
    usual = (sizes >= _LEAST) & (sizes < _MOST)
    sizes = np.where(usual, sizes, 1.0)
    places = digits - 1 - np.floor(np.log10(sizes)).astype(np.int64)
    power = _POWERS[np.maximum(places, 0)]
    scaled = sizes * power
    whole = np.rint(scaled)
    found = np.copysign(whole / power, values)
    sure = (
        usual
        & (places >= 0)
        & (np.abs(np.abs(scaled - np.floor(scaled)) - 0.5) > _SURE)
        # The logarithm of a power of ten may be that of its neighbour.
        & (whole < 10.0**digits)
        & (whole >= 10.0 ** (digits - 1))
    )
    for i in zip(*np.nonzero(~sure & (values != 0.0)), strict=True):
        found[i] = float(f"{values[i]:.{digits}g}")
    return np.where(values == 0.0, 0.0, found)
