"""Every accelerator of the measured grid is predicted, none is passed over in silence."""

from collections import defaultdict

import numpy as np

from bench.accuracy import grid
from bench.accuracy.files import rows

BAR = 0.15


def test_each_accelerator_is_near_its_measured_kernels_in_decode_and_in_prefill() -> None:
    errors: dict[tuple[str, str], list[float]] = defaultdict(list)
    cells = grid.cells()
    for cell in cells:
        found = np.abs(cell.predict() / cell.measured - 1.0)
        errors[cell.accelerator.name, cell.phase] += [float(error) for error in found]
    assert len({cell.accelerator.name for cell in cells}) == len(
        {row["system"] for row in rows("aic_step_grid")}
    )
    missed = {key: float(np.median(found)) for key, found in errors.items()}
    assert {key: error for key, error in missed.items() if error > BAR} == {}
