"""Every latency at every percentile, against the token-level simulation of the same engine.

`python -m bench.accuracy.percentiles` in tests/ prints the scores, which takes some two minutes.
"""

import sys
from dataclasses import replace

from bench.accuracy.score import Pair, by
from bench.accuracy.simulated import cases, measured, quantile
from trimtab.models.load import LatencyTargets
from trimtab.models.performance import Infeasible
from trimtab.performance.capacity import predict, replica_of
from trimtab.performance.outlook import saturation_rate

PERCENTILES = (0.5, 0.9, 0.95, 0.99)
LOADS = (0.3, 0.6, 0.8)
"""Of the predicted saturation: light, usual, and as much as a target leaves."""
_SEED = 1


def pairs() -> list[Pair]:
    """Return what the model says and what the simulation shows, grouped by latency and percentile.

    TTFT, E2E and ITL, a request's mean gap, are over requests; gap is over single ones.
    """
    found: list[Pair] = []
    for load in dict.fromkeys(replace(case, targets=LatencyTargets()) for case in cases()):
        replica = replica_of(load)
        assert not isinstance(replica, Infeasible)
        for share in LOADS:
            rate = share * saturation_rate(replica)
            seen = measured(load, rate, _SEED)
            for percentile in PERCENTILES:
                ours = predict(replace(load, targets=LatencyTargets(percentile=percentile)), rate)
                assert not isinstance(ours, Infeasible)
                both = {
                    "TTFT": (ours.ttft_s, quantile(seen.ttft, percentile)),
                    "ITL": (ours.itl_s, quantile(seen.itl, percentile)),
                    "gap": (ours.gap_s, seen.gap(percentile)),
                    "E2E": (ours.e2e_s, quantile(seen.e2e, percentile)),
                }
                found += [
                    Pair(group=f"{name} p{percentile * 100:.0f}", predicted=one, measured=other)
                    for name, (one, other) in both.items()
                ]
    return found


def main() -> None:
    """Print the scores."""
    for name, value in by(pairs(), lambda pair: pair.group).items():
        sys.stdout.write(f"{name} | {value}\n")


if __name__ == "__main__":
    main()
