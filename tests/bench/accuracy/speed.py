"""How long ten thousand (candidate, load) evaluations and one capacity take, on one core.

Run it as `python -m bench.accuracy.speed` in tests/.
"""

import sys
import time
from dataclasses import replace

import numpy as np

from bench.accuracy.simulated import cases
from trimtab.models.load import LatencyTargets
from trimtab.models.performance import Infeasible
from trimtab.performance.capacity import replica_capacity, replica_of
from trimtab.performance.outlook import evaluate_many, saturation_rate

EVALUATIONS = 10_000


def main() -> None:
    """Print both times."""
    asked = list(cases())
    loads = {replace(request, targets=LatencyTargets()) for request in asked}
    found = [replica_of(load) for load in sorted(loads, key=repr)]
    replicas = [one for one in found if not isinstance(one, Infeasible)]
    many = [replicas[i % len(replicas)] for i in range(EVALUATIONS)]
    most = np.array([saturation_rate(one) for one in replicas])
    shares = np.linspace(0.01, 1.1, EVALUATIONS)
    rates = most[np.arange(EVALUATIONS) % len(replicas)] * shares
    begin = time.process_time()
    evaluate_many(many, rates, 0.95)
    evaluated = time.process_time() - begin
    begin = time.process_time()
    for request in asked:
        replica_capacity(request)
    each = (time.process_time() - begin) / len(asked)
    sys.stdout.write(
        f"{EVALUATIONS} evaluations of {len(replicas)} candidates: {evaluated:.2f} s; "
        f"one capacity: {each * 1e3:.1f} ms\n"
    )


if __name__ == "__main__":
    main()
