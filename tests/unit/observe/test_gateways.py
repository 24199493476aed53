"""Demand by the gateway: known without a replica, and never below what the engines saw."""

import math
from typing import Any
from urllib.parse import quote

import pytest

import bodies
from answers import CONFIG, NAMESPACE, by_pod, steady
from trimtab.api.gateway import GatewayType
from trimtab.api.llmdeployment import LLMDeploymentSpec
from trimtab.errors import Unavailable
from trimtab.models.gateway import Demand
from trimtab.models.load import LatencyTargets, ObservedLoad
from trimtab.models.signals import Fresh, Invalid, Missing, Signal, Stale
from trimtab.models.snapshot import Key
from trimtab.observe import gateways
from trimtab.observe.gateways import GATEWAY_LABEL, NAME_LABEL, NAMESPACE_LABEL, Asked
from trimtab.observe.kinds import Kind
from trimtab.observe.parse import parse
from trimtab.observe.prometheus import Sample
from trimtab.observe.queries import PART_LABEL
from trimtab.observe.reader import Subject
from trimtab.observe.signals import read
from trimtab.observe.world import PodFacts

KEY = Key(namespace=NAMESPACE, name="chat")
ASKED = Asked(type=GatewayType.LLM_D, name="llama", namespace="")


class Gateway:
    """Answers one query, the gateways', as it is told."""

    def __init__(self, answer: list[Sample] | Exception, engines: Any = None) -> None:
        self.answer, self.engines = answer, engines
        self.asked: list[str] = []

    def query(self, expr: str) -> tuple[Sample, ...]:
        if GATEWAY_LABEL not in expr:
            assert self.engines is not None, expr
            found: tuple[Sample, ...] = self.engines.query(expr)
            return found
        self.asked.append(expr)
        if isinstance(self.answer, Exception):
            raise self.answer
        return tuple(self.answer)


def says(asked: Asked = ASKED, *, age_s: float = 5.0, **parts: float) -> list[Sample]:
    values = {"rate": 2.0, "seen": bodies.NOW - age_s} | parts
    labels = {GATEWAY_LABEL: asked.type.value, NAME_LABEL: asked.name}
    if asked.namespace:
        labels[NAMESPACE_LABEL] = asked.namespace
    return [
        Sample(labels={**labels, PART_LABEL: part}, value=value, timestamp=bodies.NOW)
        for part, value in values.items()
    ]


def load(
    answer: list[Sample] | Exception, *, pods: bool = False, engines: Any = None, **pod: Any
) -> ObservedLoad:
    facts = parse(Kind.POD, bodies.pod("aaaaa", **pod)).facts
    assert isinstance(facts, PodFacts)
    subject = Subject(
        key=KEY,
        targets=LatencyTargets(ttft_s=0.5),
        pods=(facts,) if pods else (),
        gateway=ASKED,
    )
    return read(Gateway(answer, engines), [subject], now=bodies.NOW, config=CONFIG)[KEY]


def test_without_a_replica_the_gateway_alone_knows_the_demand() -> None:
    found = load(says(rate=2.0, queue=3.0))
    assert found.arrival_rps == Fresh(value=2.0, age_s=5.0)
    assert found.waiting == Fresh(value=3.0, age_s=5.0)
    assert isinstance(found.ttft_s, Missing)
    assert found.source_error is None


@pytest.mark.parametrize(
    "pod", [{"phase": "Failed", "ready_s": None}, {"deletionTimestamp": bodies.at(5)}]
)
def test_what_is_left_of_a_replica_keeps_nobody_asleep(pod: dict[str, Any]) -> None:
    found = load(says(rate=2.0), pods=True, engines=steady([]), **pod)
    assert found.arrival_rps == Fresh(value=2.0, age_s=5.0)
    assert found.waiting == Fresh(value=0.0, age_s=5.0)


def test_what_the_gateway_holds_back_or_turns_away_has_arrived() -> None:
    assert load(says(rate=2.0, growth=1.0, refused=0.5)).arrival_rps == Fresh(value=3.5, age_s=5.0)
    assert load(says(rate=0.0, growth=-1.0)).arrival_rps == Fresh(value=0.0, age_s=5.0)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ([], Missing),
        (says(age_s=46.0), Stale),
        (says(age_s=-6.0), Invalid),
        (says(rate=math.nan), Invalid),
        (says(rate=1e9), Invalid),
        (says(seen=math.nan), Invalid),
        (Unavailable("no route"), Invalid),
    ],
)
def test_doubt_has_a_name_and_leaves_the_engines_word_alone(
    answer: list[Sample] | Exception, kind: type[Signal]
) -> None:
    assert isinstance(load(answer).arrival_rps, kind)
    engines = steady(["aaaaa"])
    with_pods = load(answer, pods=True, engines=engines)
    assert with_pods.arrival_rps == Fresh(value=10.0, age_s=5.0)
    assert with_pods.waiting == Fresh(value=0.0, age_s=5.0)


def test_the_missing_series_is_named_with_the_remedy() -> None:
    signal = load([]).arrival_rps
    assert isinstance(signal, Missing)
    assert signal.why == (
        'Prometheus has no llm_d_epp_request_total with model_name="llama": see spec.gateway.name'
    )


@pytest.mark.parametrize(("gateway", "wanted"), [(8.0, 10.0), (12.0, 12.0)])
def test_of_two_counts_of_what_came_the_larger_is_nearer_the_truth(
    gateway: float, wanted: float
) -> None:
    found = load(says(rate=gateway), pods=True, engines=steady(["aaaaa"]))
    assert found.arrival_rps == Fresh(value=wanted, age_s=5.0)


def test_both_queues_add_up() -> None:
    engines = steady(["aaaaa"], waiting=by_pod({"aaaaa": 4.0}))
    found = load(says(queue=3.0), pods=True, engines=engines)
    assert found.waiting == Fresh(value=7.0, age_s=5.0)


def test_an_idle_gateway_does_not_speak_for_engines_that_are_silent() -> None:
    found = load(says(rate=0.0), pods=True, engines=steady([]))
    assert found.arrival_rps == Fresh(value=0.0, age_s=5.0)
    assert isinstance(found.waiting, Missing)  # and so nothing is fresh enough to scale down


def test_names_are_those_of_the_user_or_the_usual_ones() -> None:
    def asked(gateway: dict[str, str] | None) -> Asked | None:
        document: dict[str, Any] = {"model": {"name": "org/m", "servedName": "llama"}}
        if gateway is not None:
            document["gateway"] = gateway
        return gateways.asked(KEY, LLMDeploymentSpec.model_validate(document))

    assert asked(None) is None
    assert asked({"type": "llm-d"}) == ASKED
    assert asked({"type": "litellm", "name": "x"}) == Asked(
        type=GatewayType.LITELLM, name="x", namespace=""
    )
    assert asked({"type": "istio"}) == Asked(
        type=GatewayType.ISTIO, name="chat", namespace=NAMESPACE
    )


def test_another_tenant_s_service_of_the_same_name_does_not_count() -> None:
    mine = Asked(type=GatewayType.ISTIO, name="chat", namespace=NAMESPACE)
    theirs = Asked(type=GatewayType.ISTIO, name="chat", namespace="rogue")
    source = Gateway(says(theirs, rate=1e6) + says(mine, rate=2.0))
    found = gateways.ask(source, {KEY: mine}, bodies.NOW, CONFIG)
    assert found == {
        KEY: Demand(arrival_rps=Fresh(value=2.0, age_s=5.0), queued=Fresh(value=0.0, age_s=5.0))
    }


def test_at_most_two_queries_of_bounded_length_for_the_whole_fleet() -> None:
    many = {
        Key(namespace="a", name=f"m{i}"): Asked(type=kind, name=f"model-{i}", namespace="")
        for i in range(500)
        for kind in (list(GatewayType)[i % 5],)
    }
    source = Gateway([])
    gateways.ask(source, many, bodies.NOW, CONFIG)
    assert len(source.asked) == 2
    assert max(len(quote(expr)) for expr in source.asked) < 8000
    assert "model-17" not in "".join(source.asked)
    (few,) = gateways.queries([ASKED], CONFIG.rate_window_s)
    assert 'model_name=~"llama"' in few


def test_a_hostile_name_stays_a_value() -> None:
    name = 'x"} or vector(1) or up{a="\\'
    hostile = Asked(type=GatewayType.LITELLM, name=name, namespace="")
    (expr,) = gateways.queries([hostile], CONFIG.rate_window_s)
    harmless = Asked(type=GatewayType.LITELLM, name="plain", namespace="")
    (plain,) = gateways.queries([harmless], CONFIG.rate_window_s)
    escaped = r'"x\"\\} or vector\\(1\\) or up\\{a=\"\\\\"'
    assert expr.replace(escaped, '"plain"') == plain


@pytest.mark.parametrize("kind", list(GatewayType))
def test_every_gateway_has_a_complete_file(kind: GatewayType) -> None:
    gateway = gateways.get(kind)
    assert gateway.type is kind
    assert gateway.title
    assert gateway.requests
    assert gateway.named_after in ("model", "service", "")
    assert (gateway.named_after == "") == (kind is GatewayType.ENVOY)
