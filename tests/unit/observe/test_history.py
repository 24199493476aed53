"""Demand of days ago, and the last minutes seen again, from what a Prometheus would answer."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

import bodies
from answers import CONFIG, steady
from trimtab.api.engine import EngineType
from trimtab.api.enginemetrics import EngineMetrics
from trimtab.api.gateway import GatewayType
from trimtab.errors import Unavailable
from trimtab.models.signals import Fresh, Missing
from trimtab.models.snapshot import Key
from trimtab.observe import history
from trimtab.observe.collect import collect
from trimtab.observe.gateways import GATEWAY_LABEL, NAME_LABEL, NAMESPACE_LABEL, Asked
from trimtab.observe.history import Known, demand_history, known, replay
from trimtab.observe.kinds import Kind
from trimtab.observe.prometheus import Refused, Span, Track
from trimtab.observe.queries import PART_LABEL, STEM_LABEL
from trimtab.observe.store import Store
from trimtab.observe.world import WorldView

CHAT = Key(namespace="assistants", name="chat")
CODE = Key(namespace="assistants", name="chat-code")
VLLM = EngineType.VLLM
NOW = bodies.NOW

Rate = Callable[[float], float | None]
"""Requests/s at a time; None where there is no sample."""
Answer = Sequence[tuple[dict[str, str], Rate]] | Exception
"""Labels and rate of each series."""


class Archive:
    """Answers range queries with rates by stem and time, and remembers what it was asked."""

    def __init__(
        self,
        rates: Mapping[str, Callable[[float], float]],
        most_points: int = 10**9,
        first: float = 0.0,
    ) -> None:
        self._rates = rates
        self._most_points = most_points
        self._first = first
        self.spans: list[Span] = []
        self.exprs: set[str] = set()

    def query_range(self, expr: str, span: Span) -> tuple[Track, ...]:
        self.spans.append(span)
        self.exprs.add(expr)
        times = [
            span.start + step * span.step_s
            for step in range(int((span.end - span.start) / span.step_s) + 1)
        ]
        if len(times) * len(self._rates) > self._most_points:
            raise Unavailable("the answer is longer than 25165824 bytes")
        return tuple(
            Track(
                labels={"namespace": "assistants", STEM_LABEL: stem},
                points=tuple((at, rate(at)) for at in times if at >= self._first),
            )
            for stem, rate in self._rates.items()
        )


def always(rps: float) -> Callable[[float], float]:
    return lambda at: rps


def wanted(**variants: str) -> list[Known]:
    """Deployments by their names, each with its variants."""
    return [
        Known(
            key=Key(namespace="assistants", name=name.replace("_", "-")),
            engine=VLLM,
            variants=frozenset(names.split()),
        )
        for name, names in variants.items()
    ]


def test_eight_days_in_five_minutes_and_an_hour_in_minutes() -> None:
    archive = Archive({"chat-h100-tp1-5c9d8f7b6d-": always(3.0)})
    points = demand_history(archive, wanted(chat="chat-h100-tp1"), NOW)[CHAT]
    times = [at for at, _ in points]
    assert times == sorted(set(times))
    assert (times[0], times[-1]) == (NOW - 8 * 86_400, NOW)
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[-60:] == [60.0] * 60
    assert set(gaps[:-60]) == {300.0}
    assert {rps for _, rps in points} == {3.0}
    assert len(archive.spans) <= 10
    assert all((span.end - span.start) / span.step_s < 11_000 for span in archive.spans)
    assert all(span.start == round(span.start) for span in archive.spans)


def test_the_step_is_the_window_of_the_rate() -> None:
    archive = Archive({})
    demand_history(archive, wanted(chat="chat-h100-tp1"), NOW, labels=(("cluster", "eu"),))
    assert all('cluster="eu"' in expr for expr in archive.exprs)
    windows = {re.search(r"\[(\d+)s\]", expr).group(1) for expr in archive.exprs}  # type: ignore[union-attr]
    assert windows == {"60", "300"}
    assert all("vllm:time_to_first_token_seconds_count" in expr for expr in archive.exprs)


def test_rollouts_and_pools_of_one_deployment_add_up_and_those_of_others_do_not() -> None:
    archive = Archive(
        {
            "chat-h100-tp1-5c9d8f7b6d-": always(3.0),
            "chat-h100-tp1-7777777777-": always(2.0),  # the template before
            "chat-l4-tp1-5c9d8f7b6d-": always(1.0),
            "chat-code-h100-tp1-5c9d8f7b6d-": always(40.0),
            "stranger-5c9d8f7b6d-": always(500.0),
        }
    )
    found = demand_history(
        archive, wanted(chat="chat-h100-tp1 chat-l4-tp1", chat_code="chat-code-h100-tp1"), NOW
    )
    assert {rps for _, rps in found[CHAT]} == {6.0}
    assert {rps for _, rps in found[CODE]} == {40.0}
    assert found.keys() == {CHAT, CODE}


def test_a_stem_that_kubernetes_has_cut_is_recognised() -> None:
    long = "a" * 40 + "-pool-with-a-name-tp16pp2"
    assert len(long) > 58
    archive = Archive({long[:58]: always(3.0), "b" * 50 + "-5c9d8f7": always(5.0)})
    found = demand_history(archive, wanted(chat=long, chat_code="b" * 50), NOW)
    assert {rps for _, rps in found[CHAT]} == {3.0}
    assert {rps for _, rps in found[CODE]} == {5.0}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0, 1e9])
def test_what_is_no_rate_is_no_point(bad: float) -> None:
    archive = Archive({"chat-h100-tp1-1-": lambda at: bad if at > NOW - 600 else 3.0})
    points = demand_history(archive, wanted(chat="chat-h100-tp1"), NOW)[CHAT]
    assert max(at for at, _ in points) == NOW - 600
    assert {rps for _, rps in points} == {3.0}


def test_a_time_without_samples_is_a_gap_and_not_zero() -> None:
    archive = Archive({"chat-h100-tp1-1-": always(3.0)}, first=NOW - 7200)
    points = demand_history(archive, wanted(chat="chat-h100-tp1"), NOW)[CHAT]
    assert min(at for at, _ in points) >= NOW - 7200
    assert all(rps == 3.0 for _, rps in points)


def test_what_is_too_much_at_once_is_asked_for_in_parts_and_nothing_is_lost() -> None:
    rates = {"chat-h100-tp1-1-": always(3.0)}
    whole = demand_history(Archive(rates), wanted(chat="chat-h100-tp1"), NOW)
    archive = Archive(rates, most_points=100)
    assert demand_history(archive, wanted(chat="chat-h100-tp1"), NOW) == whole
    assert len(archive.spans) < 100


def test_the_newest_is_asked_for_first_and_what_there_is_no_time_for_is_left_out() -> None:
    archive = Archive({"chat-h100-tp1-1-": always(3.0)})
    points = demand_history(archive, wanted(chat="chat-h100-tp1"), NOW, budget_s=0.0)[CHAT]
    assert [span.end for span in archive.spans] == [NOW]
    assert len(points) == 61


def test_a_source_that_does_not_answer_is_an_error() -> None:
    archive = Archive({"chat-h100-tp1-1-": always(3.0)}, most_points=0)
    with pytest.raises(Unavailable):
        demand_history(archive, wanted(chat="chat-h100-tp1"), NOW)
    assert len(archive.spans) == 1


def view(*more_pods: dict[str, object]) -> WorldView:
    store = Store()
    for kind, items in (
        (Kind.LLM_DEPLOYMENT, [bodies.llm_deployment()]),
        (Kind.ACCELERATOR_POOL, [bodies.pool(), bodies.pool("l4")]),
        (Kind.DEPLOYMENT, [bodies.child(tensor=4, name="chat-h100-tp4")]),
        (Kind.POD, [bodies.pod(ready_s=3600.0), bodies.pod("bcdef", ready_s=3600.0), *more_pods]),
    ):
        store.replace(kind, items, "")
    return store.view()


def test_every_pool_that_there_is_may_have_served_it() -> None:
    (found,) = known(view())
    assert found.key == CHAT
    assert {"chat-h100-tp1", "chat-h100-tp4", "chat-l4-tp1", "chat-l4-tp4"} <= found.variants


class Live:
    """Answers ranges with what the steady answers of the unit tests say at each step."""

    def __init__(self, refuse: str = "") -> None:
        self.asked: list[str] = []
        self._refuse = refuse

    def query_range(self, expr: str, span: Span) -> tuple[Track, ...]:
        self.asked.append(expr)
        if self._refuse and self._refuse in expr:
            raise Refused("too many chunks")
        samples: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
        steps = int((span.end - span.start) / span.step_s) + 1
        for at in (span.start + step * span.step_s for step in range(steps)):
            for sample in steady(["abcde", "bcdef"]).query(expr):
                moved = sample.labels.get("trimtab_part") == "seen"
                value = sample.value + at - NOW if moved else sample.value
                samples.setdefault(tuple(sorted(sample.labels.items())), []).append((at, value))
        return tuple(
            Track(labels=dict(labels), points=tuple(points)) for labels, points in samples.items()
        )


def test_a_replay_is_what_was_seen_then() -> None:
    live = Live()
    seen = list(replay(live, view(), NOW, CONFIG))
    times = [snapshot.now for snapshot in seen]
    assert times == [NOW - history.REPLAYED_S + 60.0 * step for step in range(21)]
    then = collect(
        view(), steady(["abcde", "bcdef"]), now=NOW, memory=seen[0].memory, config=CONFIG
    )
    for snapshot in seen:
        (state,) = snapshot.deployments
        assert state.load == then.deployments[0].load
        assert isinstance(state.load.arrival_rps, Fresh)
        (reading,) = state.load.variants
        assert isinstance(reading.itl_s, Fresh)
    assert len(live.asked) <= 15 * 5


def test_a_replica_that_was_not_there_yet_has_not_been_ready_for_any_time() -> None:
    for snapshot in replay(Live(), view(bodies.pod("young", ready_s=120.0)), NOW, CONFIG):
        (variant,) = [one for one in snapshot.deployments[0].variants if one.ready == 3]
        assert variant.youngest_ready_s == max(0.0, snapshot.now - (NOW - 120.0))
        assert not isinstance(snapshot.deployments[0].load.variants[0].gaps_per_s, Fresh)


def test_a_question_that_is_refused_leaves_the_others() -> None:
    refused = "inter_token_latency"
    for snapshot in replay(Live(refused), view(), NOW, CONFIG):
        load = snapshot.deployments[0].load
        assert not isinstance(load.itl_s, Fresh | Missing)
        assert isinstance(load.arrival_rps, Fresh)


class Sources:
    """Answers by what is asked of: a marker in the query, then the series, or a failure."""

    def __init__(self, **tracks: Answer) -> None:
        self._tracks = tracks
        self.asked: list[tuple[str, Span]] = []

    def query_range(self, expr: str, span: Span) -> tuple[Track, ...]:
        self.asked.append((expr, span))
        (answer,) = [each for marker, each in self._tracks.items() if marker in expr]
        if isinstance(answer, Exception):
            raise answer
        steps = range(int((span.end - span.start) / span.step_s) + 1)
        times = [span.start + step * span.step_s for step in steps]
        return tuple(
            Track(
                labels=labels,
                points=tuple((at, value) for at in times if (value := rate(at)) is not None),
            )
            for labels, rate in answer
        )


ENGINES, ISTIO, MINE = "time_to_first_token", "istio_requests_total", "my_requests_total"
SLEPT = NOW - 7200
"""Until then nothing served."""


def gateway(part: str, rate: Rate, namespace: str = "assistants") -> tuple[dict[str, str], Rate]:
    labels = {GATEWAY_LABEL: "istio", NAME_LABEL: "chat", NAMESPACE_LABEL: namespace}
    return labels | {PART_LABEL: part}, rate


def at_istio(rps: Rate) -> Sources:
    served = {"namespace": "assistants", STEM_LABEL: "chat-h100-tp1-1-"}
    return Sources(
        **{
            ENGINES: [(served, lambda at: 3.0 if at >= SLEPT else None)],
            ISTIO: [
                gateway("rate", rps),
                gateway("rate_new", lambda at: 0.5 if at == NOW - 600 else None),
                gateway("rate", always(500.0), "strangers"),
                gateway("seen", lambda at: at),
            ],
        }
    )


def behind_istio() -> list[Known]:
    (chat,) = wanted(chat="chat-h100-tp1")
    asked = Asked(type=GatewayType.ISTIO, name="chat", namespace="assistants")
    return [replace(chat, gateway=asked)]


def test_what_a_gateway_counted_while_nothing_served_comes_back() -> None:
    points = dict(demand_history(at_istio(always(2.0)), behind_istio(), NOW)[CHAT])
    assert {rps for at, rps in points.items() if at < SLEPT} == {2.0}
    # Later the engines count more than the gateway, some of whose clients know a way around it.
    assert {rps for at, rps in points.items() if at >= SLEPT} == {3.0}
    assert min(points) == NOW - 8 * 86_400


def test_where_a_gateway_counted_more_that_was_the_demand() -> None:
    points = dict(demand_history(at_istio(always(7.0)), behind_istio(), NOW)[CHAT])
    assert points.pop(NOW - 600) == 7.5  # with the first of a series that began then
    assert set(points.values()) == {7.0}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e9])
def test_a_gateway_that_says_no_rate_leaves_what_the_engines_say(bad: float) -> None:
    points = dict(demand_history(at_istio(always(bad)), behind_istio(), NOW)[CHAT])
    assert set(points.values()) == {3.0}
    assert min(points) >= SLEPT


def test_the_step_of_a_gateway_s_past_is_the_window_of_its_rate() -> None:
    source = at_istio(always(2.0))
    demand_history(source, behind_istio(), NOW)
    for expr, span in source.asked:
        if ISTIO in expr:
            assert f"[{span.step_s * 1000:.0f}ms]" in expr
    assert len(source.asked) <= 2 * 10


METRICS = EngineMetrics(
    requests_per_second="rate(my_requests_total[1m]) # mine", waiting_requests="my_queue"
)


def test_a_custom_engine_s_past_is_what_its_promql_gave_for_its_own_replicas() -> None:
    (chat,) = wanted(chat="chat-h100-tp1")
    mine = replace(chat, engine=EngineType.CUSTOM, metrics=METRICS)
    (other,) = wanted(chat_code="chat-code-h100-tp1")

    def of(stem: str, rps: float) -> tuple[dict[str, str], Rate]:
        return {"namespace": "assistants", STEM_LABEL: stem}, always(rps)

    source = Sources(
        **{
            ENGINES: [of("chat-code-h100-tp1-1-", 4.0)],
            MINE: [
                of("chat-h100-tp1-1-", 5.0),
                of("chat-h100-tp1-2-", 1.0),
                of("chat-code-h100-tp1-1-", 900.0),
            ],
        }
    )
    found = demand_history(source, [mine, other], NOW)
    assert {rps for _, rps in found[CHAT]} == {6.0}
    assert {rps for _, rps in found[CODE]} == {4.0}


def test_promql_that_is_refused_costs_one_question_and_nobody_else_s_past() -> None:
    (chat,) = wanted(chat="chat-h100-tp1")
    mine = replace(chat, engine=EngineType.CUSTOM, metrics=METRICS)
    (other,) = wanted(chat_code="chat-code-h100-tp1")
    series = {"namespace": "assistants", STEM_LABEL: "chat-code-h100-tp1-1-"}
    answers: dict[str, Answer] = {
        ENGINES: [(series, always(4.0))],
        MINE: Refused("parse error"),
    }
    source = Sources(**answers)
    assert demand_history(source, [mine, other], NOW).keys() == {CODE}
    assert sum(MINE in expr for expr, _ in source.asked) == 1
    assert demand_history(Sources(**{MINE: Refused("parse error")}), [mine], NOW) == {}
    with pytest.raises(Unavailable, match="silent"):
        demand_history(Sources(**{MINE: Unavailable("silent")}), [mine], NOW)


def test_the_gateway_and_the_promql_of_a_deployment_are_known() -> None:
    store = Store()
    metrics = METRICS.model_dump(by_alias=True, exclude_none=True)
    engine = {"type": "custom", "image": "x:1", "metrics": metrics}
    spec = {"gateway": {"type": "istio"}, "engine": engine}
    store.replace(Kind.LLM_DEPLOYMENT, [bodies.llm_deployment(spec=spec)], "")
    (found,) = known(store.view())
    assert found.metrics == METRICS
    assert found.gateway == Asked(type=GatewayType.ISTIO, name="chat", namespace="assistants")


def test_without_anything_to_ask_for_nothing_is_asked() -> None:
    archive = Archive({})
    custom = Known(key=CHAT, engine=EngineType.CUSTOM, variants=frozenset({"chat-h100-tp1"}))
    assert demand_history(archive, [], NOW) == demand_history(archive, [custom], NOW) == {}
    assert list(replay(Live(), Store().view(), NOW, CONFIG)) == []
    assert archive.spans == []
