"""Percentiles of one replica's latencies are in order, and parts are no longer than the whole."""

import numpy as np
from hypothesis import given, settings

from property.test_capacity_order import requests
from trimtab.performance.capacity import CapacityRequest, replica_of
from trimtab.performance.meanfield import Replica
from trimtab.performance.outlook import open_loop, saturation_rate

PERCENTILES = (0.5, 0.75, 0.9, 0.95, 0.99)


@settings(max_examples=40, deadline=None)
@given(asked=requests)
def test_percentiles_are_in_order(asked: CapacityRequest) -> None:
    one = replica_of(asked)
    if not isinstance(one, Replica):
        return
    rates = saturation_rate(one) * np.array([0.001, 0.1, 0.5, 0.8, 0.95])
    found = [open_loop(one, rates, share) for share in PERCENTILES]
    for name in ("ttft_s", "itl_s", "gap_s", "e2e_s"):
        values = np.stack([getattr(outlook, name) for outlook in found])
        assert np.all(np.isfinite(values)), name
        assert np.all(values > 0.0), name
        assert np.all(values[1:] >= values[:-1] * 0.995), name
    for outlook in found:
        assert np.all(outlook.e2e_s >= outlook.ttft_s)
        assert np.all(outlook.e2e_mean_s >= outlook.ttft_mean_s * 0.999)
    # Most of a distribution lies about its mean.
    assert np.all(found[0].ttft_s <= 3.0 * found[0].ttft_mean_s)
    assert np.all(found[-1].e2e_s >= 0.9 * found[-1].e2e_mean_s)
