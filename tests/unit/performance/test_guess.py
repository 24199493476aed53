"""A model of which only the size in its name is known is shaped as others of its size are."""

import math
from dataclasses import replace

import numpy as np
import pytest

from trimtab.catalog import geometries
from trimtab.catalog.modelnames import sizes_of
from trimtab.errors import InvalidInput
from trimtab.models.load import LatencyTargets
from trimtab.models.performance import Infeasible
from trimtab.performance.capacity import replica_capacity, replica_of
from trimtab.performance.guess import geometry_by_size
from trimtab.performance.outlook import saturation_rate
from trimtab.performance.question import Question, answer, request_of
from trimtab.performance.weights import parameters
from unit.performance.builders import request

ASKED = Question(model="acme/Novel-14B-Instruct", accelerator="h100", request_rate=1.0)


@pytest.mark.parametrize(
    ("name", "whole", "active"),
    [
        ("acme/Novel-14B-Instruct", 14e9, 14e9),
        ("Novel-30B-A3B", 30e9, 3e9),
        ("novel_2.4b_chat", 2.4e9, 2.4e9),
        ("Novel-1T-A32B-FP8", 1e12, 32e9),
        ("Novel-270M", 0.27e9, 0.27e9),
        ("Novel-8x7B-v2", 46.5e9, 11.6e9),
    ],
)
def test_a_shape_has_the_size_that_its_name_states(name: str, whole: float, active: float) -> None:
    sizes, shape = sizes_of(name), geometry_by_size(name)
    assert sizes is not None
    assert sizes == pytest.approx((whole, active), rel=0.01)
    assert shape is not None
    assert shape.guessed
    assert parameters(shape).total == pytest.approx(whole, rel=0.05)
    assert parameters(shape).active == pytest.approx(active, rel=0.07)


def test_a_name_without_a_size_is_no_model() -> None:
    assert geometry_by_size("acme/novel-chat-2507-fp8") is None
    with pytest.raises(InvalidInput, match="states no size"):
        answer(replace(ASKED, model="acme/novel-chat"))


def test_a_guess_says_so_and_is_less_sure_than_an_estimate() -> None:
    reply = answer(ASKED)
    assert (reply.fits, reply.provenance) == (True, "guessed")
    assert reply.reason.startswith("Guessed: ")
    known = answer(replace(ASKED, model="Qwen/Qwen3-14B"))
    assert (known.provenance, known.reason) == ("estimated", "")
    assert reply.tpot_ms == pytest.approx(known.tpot_ms, rel=0.1)
    targets = LatencyTargets(itl_s=0.1)
    guess, estimate = (
        replica_capacity(request_of(replace(ASKED, model=name), (), targets))
        for name in ("acme/Novel-14B", "Qwen/Qwen3-14B")
    )
    assert not isinstance(guess, Infeasible)
    assert not isinstance(estimate, Infeasible)
    assert guess.uncertainty > 2 * estimate.uncertainty


def test_rates_of_known_models_guessed_from_their_names_spread_as_their_uncertainty_says() -> None:
    errors, doubts = [], []
    for name in geometries.names():
        own, guess = geometries.get(name), geometry_by_size(name)
        if own is None or guess is None:
            continue
        guess = replace(guess, native_weight_dtype=own.native_weight_dtype)
        asked = request(device="h200")
        if parameters(own).total > 50e9:
            continue
        found = [replica_of(replace(asked, geometry=one)) for one in (own, guess)]
        if any(isinstance(one, Infeasible) for one in found):
            continue
        rates = [saturation_rate(one) for one in found if not isinstance(one, Infeasible)]
        errors.append(math.log(rates[1] / rates[0]))
        sure = replica_capacity(replace(asked, geometry=guess))
        assert not isinstance(sure, Infeasible)
        doubts.append(sure.uncertainty)
    assert len(errors) > 100
    assert abs(float(np.median(errors))) < 0.1
    assert float(np.sqrt(np.mean(np.square(errors)))) < 1.1 * float(np.mean(doubts))
