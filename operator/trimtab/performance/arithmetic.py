"""Arithmetic on floats and on numpy arrays alike, each in the way that is fast for it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Number: TypeAlias = float | Array


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What differs between floats and arrays; numpy takes ten times as long over one float."""

    minimum: Callable[[Any, Any], Any]
    maximum: Callable[[Any, Any], Any]
    sqrt: Callable[[Any], Any]
    cbrt: Callable[[Any], Any]

    def overlapped(self, compute_s: Number, read_s: Number) -> Number:
        """Return (compute^1.5 + read^1.5)^(2/3): kernels overlap both, the fuller the better.

        The exponent is fitted to measured kernels; 4 would be a sharp knee, 1 no overlap at all.
        """
        sqrt = self.sqrt
        seconds: Number = self.cbrt((compute_s * sqrt(compute_s) + read_s * sqrt(read_s)) ** 2)
        return seconds


_ARRAYS = Arithmetic(np.minimum, np.maximum, np.sqrt, np.cbrt)
_FLOATS = Arithmetic(min, max, math.sqrt, math.cbrt)


def arithmetic_of(*inputs: Number) -> Arithmetic:
    """Return the arithmetic for `inputs`: that of arrays if any of them is one."""
    for one in inputs:
        if isinstance(one, np.ndarray):
            return _ARRAYS
    return _FLOATS


def some(value: Number) -> bool:
    """Whether a coefficient is anything but 0, for any replica that it stands for."""
    return bool(value.any()) if isinstance(value, np.ndarray) else value != 0.0
