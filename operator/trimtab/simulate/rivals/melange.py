"""Mélange's programme: the cheapest mix of GPUs for a histogram of request sizes.

Source: tyler-griggs/melange-release d46ab438 (arXiv 2404.14527), as research/rival-rules.md and
peers.md (1.3) state it. The rate of each bucket of request sizes is cut into `slice_factor` equal
slices; a slice of rate r loads a GPU that serves its bucket at T requests/s by r/T:

    min  sum cost_g * B_g   s.t.  each slice on one GPU type,  sum of loads on g <= B_g,  B_g whole

Slices of one bucket are alike, so how many of them lie on each type is one whole variable.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

from trimtab.errors import Bug, InvalidInput
from trimtab.simulate.linear import QuietSolver

_FEASIBLE = 1e-7
"""Overload that the solver may leave, which the rounding up of loads must not count."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One type of GPU and the load that one request/s of each bucket puts on it."""

    name: str
    cost: float
    """$/h."""
    loads: tuple[float, ...]
    """1 over the requests/s of each bucket that one GPU serves within the targets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """The cheapest GPUs."""

    counts: dict[str, int]
    cost: float
    """$/h."""


def loads(throughputs: Sequence[float]) -> tuple[float, ...]:
    """Return the load of one request/s of each bucket.

    Raises:
        InvalidInput: A bucket is not served at all: Mélange divides by that zero.
    """
    if min(throughputs) <= 0:
        raise InvalidInput(
            "throughputs", "a bucket has no throughput", "Leave out what no GPU of the type serves."
        )
    return tuple(1.0 / throughput for throughput in throughputs)


def cheapest_mix(
    gpus: Sequence[Gpu], rates: Sequence[float], slice_factor: int, *, whole: bool = True
) -> Mix:
    """Return the GPUs for `rates` requests/s of each bucket, cut into `slice_factor` slices.

    Without `whole` slices may be split, so that the mix is never dearer, and found at once.
    """
    used = [bucket for bucket, rate in enumerate(rates) if rate > 0]
    if not used:
        return _mix(gpus, [0.0] * len(gpus))
    # One row for each bucket, one column for each type: the load of one slice.
    slice_loads = np.array([[rates[b] / slice_factor * gpu.loads[b] for gpu in gpus] for b in used])
    costs = np.array([gpu.cost for gpu in gpus])
    slices = _solve(slice_loads, costs, slice_factor, whole=whole)
    return _mix(gpus, (slice_loads * slices).sum(axis=0).tolist())


def _mix(gpus: Sequence[Gpu], total: Sequence[float]) -> Mix:
    whole = [math.ceil(load - 2.0 * _FEASIBLE) for load in total]
    return Mix(
        counts={gpu.name: count for gpu, count in zip(gpus, whole, strict=True)},
        cost=math.fsum(gpu.cost * count for gpu, count in zip(gpus, whole, strict=True)),
    )


def _most(slice_loads: Matrix, costs: Matrix, slice_factor: int) -> Matrix:
    """Return the most slices on each type: 0 where one alone costs more than some whole answer.

    It keeps loads of a million, for what no GPU serves, out of the programme.
    """
    shares = slice_loads * costs
    least = shares.min(axis=1)
    on_one_type = np.ceil(slice_loads.sum(axis=0) * slice_factor) * costs
    each_alone = slice_factor * (np.ceil(slice_loads) * costs).min(axis=1).sum()
    answer = min(float(each_alone), float(on_one_type.min()))
    others = slice_factor * least.sum() - least
    return np.where(shares + others[:, None] <= answer * (1.0 + 1e-9), float(slice_factor), 0.0)


def _solve(slice_loads: Matrix, costs: Matrix, slice_factor: int, *, whole: bool) -> Matrix:
    """Return how many slices of each bucket lie on each type.

    Columns: slices by bucket and type, then the GPUs of each type. Rows: all slices of each
    bucket are somewhere, then no type is overloaded.
    """
    buckets, types = slice_loads.shape
    size = buckets * types
    most = _most(slice_loads, costs, slice_factor)
    rows = np.zeros((buckets + types, size + types))
    for bucket in range(buckets):
        columns = slice(bucket * types, (bucket + 1) * types)
        rows[bucket, columns] = 1.0
        rows[buckets:, columns] = np.diag(np.where(most[bucket] > 0, slice_loads[bucket], 0.0))
    rows[buckets:, size:] = -np.eye(types)
    columns_of, rows_of = np.nonzero(rows.T)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = size + types, buckets + types
    lp.col_cost_ = np.concatenate([np.zeros(size), costs])
    lp.col_lower_ = np.zeros(size + types)
    lp.col_upper_ = np.concatenate([most.ravel(), np.full(types, highspy.kHighsInf)])
    exactly = np.full(buckets, float(slice_factor))
    lp.row_lower_ = np.concatenate([exactly, np.full(types, -highspy.kHighsInf)])
    lp.row_upper_ = np.concatenate([exactly, np.zeros(types)])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    starts = np.searchsorted(columns_of, np.arange(size + types + 1))
    lp.a_matrix_.start_ = starts.astype(np.int32)
    lp.a_matrix_.index_ = rows_of.astype(np.int32)
    lp.a_matrix_.value_ = rows[rows_of, columns_of]
    slices = highspy.HighsVarType.kInteger if whole else highspy.HighsVarType.kContinuous
    lp.integrality_ = [slices] * size + [highspy.HighsVarType.kInteger] * types
    solver = QuietSolver()
    for name, setting in (
        ("output_flag", False),
        ("threads", 1),
        ("random_seed", 0),
        ("mip_rel_gap", 0.0),
        ("primal_feasibility_tolerance", _FEASIBLE),
        ("mip_feasibility_tolerance", _FEASIBLE),
    ):
        solver.setOptionValue(name, setting)
    solver.passModel(lp)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise Bug(f"Mélange's programme ended as {solver.getModelStatus()}")
    found: Matrix = np.array(solver.getSolution().col_value[:size])
    return (np.round(found) if whole else found).reshape(buckets, types)
