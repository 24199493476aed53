"""HiGHS on one thread, from one seed and to a number of nodes: equal questions, equal answers."""

import highspy

NODES, FEW_NODES = 1000, 1
"""Most branches of one solve of a small fleet, and of a large one."""
EXACT, GAP = 1e-7, 5e-3
"""Relative gap at which a solve of a small fleet ends, and of a large one."""
INFINITY = highspy.kHighsInf


class _Quiet(highspy.Highs):  # type: ignore[misc]  # highspy ships no types
    """A solver that writes nothing, not even the banner that switching callbacks on prints."""

    def enableCallbacks(self) -> None:  # noqa: N802
        self.setOptionValue("output_flag", False)
        super().enableCallbacks()


def quiet_solver(*, exact: bool) -> _Quiet:
    """Return a solver on one thread, from one seed, to a number of nodes, which prints nothing."""
    solver = _Quiet()
    for name, setting in (
        ("threads", 1),
        ("random_seed", 0),
        ("mip_max_nodes", NODES if exact else FEW_NODES),
        ("mip_rel_gap", EXACT if exact else GAP),
    ):
        solver.setOptionValue(name, setting)
    return solver
