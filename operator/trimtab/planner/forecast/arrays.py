"""The one kind of array that forecasts are made of."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
