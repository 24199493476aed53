"""Prints how good and how fast the programme is, and what others pay for the same fleets.

    cd tests && python -m bench.planner [optimality] [speed] [rivals] [ticks]

Without a word it prints all but `ticks`, which takes minutes. Times are of one core (CPU seconds);
nothing is asserted here: `tests/unit/planner/test_optimality.py` and the golden tests do that.
"""

import sys

from bench.planner import optimality, rivals, speed, ticks

PARTS = {
    "optimality": optimality.show,
    "speed": speed.show,
    "rivals": rivals.show,
    "ticks": ticks.show,
}


def main() -> None:
    """Print the parts that are asked for."""
    for name in sys.argv[1:] or ["optimality", "speed", "rivals"]:
        PARTS[name]()


if __name__ == "__main__":
    main()
