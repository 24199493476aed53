"""A series that is gone, and the one that looks like it, are told by name."""

from dataclasses import replace
from typing import Any

import pytest

import bodies
import builders
import pages
from answers import NAMESPACE, STEM
from trimtab.models.memory import PlannerMemory
from trimtab.models.signals import Missing, Partial, Signal
from trimtab.models.snapshot import Snapshot
from trimtab.observe.kinds import Kind
from trimtab.observe.parse import parse
from trimtab.observe.prometheus import Refused, Sample
from trimtab.observe.reader import REMEDY
from trimtab.observe.selftest import UPGRADE, SelfTest, lacking, renamed
from trimtab.observe.world import PodFacts, WorldView

ABSENT = Missing(why="no replica exports it", absent=True)


class Source:
    """Says which names one pod exports."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[str] = []

    def query(self, expr: str) -> tuple[Sample, ...]:
        self.asked.append(expr)
        if not self.text:
            raise Refused("no")
        return tuple(
            Sample(labels={"__name__": name}, value=1.0, timestamp=bodies.NOW)
            for name in pages.names(self.text)
        )


def findings(text: str, **signals: Any) -> tuple[Source, list[str]]:
    facts = parse(Kind.POD, bodies.pod("aaaaa")).facts
    assert isinstance(facts, PodFacts)
    state = builders.deployment_state()
    state = replace(state, load=replace(state.load, **signals))
    snapshot = Snapshot(
        now=bodies.NOW, deployments=(state,), pools=(), profiles=(), budgets=(),
        memory=PlannerMemory(),
    )  # fmt: skip
    source = Source(text)
    found = list(renamed(source, WorldView(pods=(facts,)), snapshot))
    assert all(each.remedy for each in found)
    return source, [each.message for each in found]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("vllm:num_requests_waiting", "vllm:num_requests_queued"),
        ("vllm:kv_cache_usage_perc", "vllm:kv_cache_usage_ratio"),
        ("vllm:inter_token_latency_seconds", "vllm:inter_token_latency"),
        ("vllm:request_prompt_tokens", "vllm:request_input_tokens"),
    ],
)
def test_a_renamed_series_is_told_with_both_names(old: str, new: str) -> None:
    source, found = findings(pages.page("load2").replace(old, new), waiting=ABSENT)
    assert len(found) == 1
    assert old in found[0]
    assert f"and {new}," in found[0]
    assert source.asked == [f'count by (__name__) ({{namespace="{NAMESPACE}",pod="{STEM}aaaaa"}})']


def test_nothing_is_asked_or_told_while_nothing_is_absent() -> None:
    source, found = findings(pages.page("load2"), waiting=Missing(why="no request in the window"))
    assert (source.asked, found) == ([], [])


def test_what_is_gone_without_a_lookalike_is_not_guessed() -> None:
    text = "".join(
        f"{line}\n"
        for line in pages.page("load2").splitlines()
        if "vllm:time_to_first_token" not in line
    )
    assert findings(text, ttft_s=ABSENT)[1] == []
    assert findings("", ttft_s=ABSENT)[1] == []


def test_lacking_names_the_signals() -> None:
    state = builders.deployment_state()
    assert lacking(replace(state.load, ttft_s=ABSENT, waiting=ABSENT)) == ("waiting", "ttft_s")


QUEUE, NEW_QUEUE = "vllm:num_requests_waiting", "vllm:num_requests_queued"
RENAMED = pages.page("load2").replace(QUEUE, NEW_QUEUE)
ALL_LACK = Missing(why=f"no replica exports {QUEUE}: {REMEDY}", absent=True)
SOME_LACK = Partial(
    value=1.0, reporting=1, expected=2, why=f"and others export no {QUEUE}: {REMEDY}"
)


def replica(end: str, template: str = "chat-h100-tp1") -> PodFacts:
    facts = parse(Kind.POD, bodies.pod(end, variant=template)).facts
    assert isinstance(facts, PodFacts)
    return facts


def lacked(waiting: Signal) -> Snapshot:
    state = builders.deployment_state()
    return Snapshot(
        now=bodies.NOW, deployments=(replace(state, load=replace(state.load, waiting=waiting)),),
        pools=(), profiles=(), budgets=(), memory=PlannerMemory(),
    )  # fmt: skip


@pytest.mark.parametrize("waiting", [ALL_LACK, SOME_LACK])
def test_a_pass_says_what_is_exported_instead_and_asks_once(waiting: Signal) -> None:
    """In the condition itself, by both names, and whether all replicas lack it or some do."""
    source, test = Source(RENAMED), SelfTest()
    view = WorldView(pods=(replica("aaaaa"), replica("bbbbb")))
    for _ in range(3):
        (state,) = test.told(source, view, lacked(waiting)).deployments
        why = getattr(state.load.waiting, "why", "")
        assert QUEUE in why
        assert why.endswith(f"they export {NEW_QUEUE}, which looks like it. {UPGRADE}")
        assert lacking(state.load) == ("waiting",)
    assert len(source.asked) == 1


def test_every_template_is_asked_about_in_a_pass_of_its_own() -> None:
    """A rollout is another template; what is well again is forgotten, so that it is asked anew."""
    source, test = Source(RENAMED), SelfTest()
    view = WorldView(pods=(replica("aaaaa"), replica("bbbbb", "chat-l40s-tp1")))
    for asked in (1, 2, 2):
        test.told(source, view, lacked(ALL_LACK))
        assert len(source.asked) == asked
    assert len(set(source.asked)) == 2
    well = Snapshot(
        now=bodies.NOW, deployments=(builders.deployment_state(),), pools=(), profiles=(),
        budgets=(), memory=PlannerMemory(),
    )  # fmt: skip
    assert test.told(source, view, well) is well
    test.told(source, view, lacked(ALL_LACK))
    assert len(source.asked) == 3


def test_who_cannot_be_asked_is_asked_again_and_nothing_is_made_up() -> None:
    source, test = Source(""), SelfTest()
    view, snapshot = WorldView(pods=(replica("aaaaa"),)), lacked(ALL_LACK)
    for _ in range(2):
        assert test.told(source, view, snapshot) is snapshot
    assert len(source.asked) == 2
    assert test.told(None, view, snapshot) is snapshot
    source.text = RENAMED
    assert test.told(source, view, snapshot) != snapshot
