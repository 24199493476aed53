"""A real page in another form says the same: older names, other labels, more ranks, OpenMetrics."""

import re
from collections.abc import Callable
from dataclasses import fields

import pytest

import onereplica
import pages
from onereplica import number
from trimtab.models.load import ObservedLoad
from trimtab.models.signals import Fresh
from trimtab.observe.selftest import lacking

Form = Callable[[str], str]

OLDER_NAMES = {
    "vllm:kv_cache_usage_perc": "vllm:gpu_cache_usage_perc",
    "vllm:inter_token_latency_seconds": "vllm:time_per_output_token_seconds",
    "vllm:prefix_cache_": "vllm:gpu_prefix_cache_",
}
NEWER_SERIES = ("prompt_tokens_cached", "request_time_per_output", "admission_rejections")
"""What the older releases did not have."""


def older(text: str) -> str:
    """As 0.8 wrote it."""
    kept = [line for line in text.splitlines() if not any(name in line for name in NEWER_SERIES)]
    text = "\n".join(kept) + "\n"
    for new, old in OLDER_NAMES.items():
        text = text.replace(new, old)
    return text


def both_names(text: str) -> str:
    """As a release writes it that has a metric by its old name, too."""
    return text + "".join(
        line.replace(new, old) + "\n"
        for new, old in OLDER_NAMES.items()
        for line in text.splitlines()
        if line.startswith(new)
    )


def without_ranks(text: str) -> str:
    return text.replace('engine="0",', "")


def open_metrics(text: str) -> str:
    """As who asks for OpenMetrics gets it: families without suffix, times of creation, an end."""
    lines = []
    for line in text.splitlines():
        comment = re.fullmatch(r"# (TYPE|HELP) (\S+?)(?:_total)? (.*)", line)
        lines.append("# {} {} {}".format(*comment.groups()) if comment else line)
        counter = re.fullmatch(r"(vllm:\w+)_(?:total|count)(\{.*\}) \S+", line)
        if counter:
            lines.append(f"{counter[1]}_created{counter[2]} 1.79e+09")
    return "\n".join([*lines, "# EOF", ""])


def with_times(text: str) -> str:
    """Each sample with its time in milliseconds behind it, as a page that was federated has it."""
    return re.sub(r"^(vllm:.* \S+)$", r"\1 1790000000000", text, flags=re.MULTILINE)


def with_more_labels(text: str) -> str:
    """Split by an adapter of which nobody has heard, all of it at one of the two."""
    two = re.sub(r"^(vllm:\w+)\{(.*) \S+$", r'\1{lora="b",\2 0.0', text, flags=re.MULTILINE)
    one = re.sub(r"^(vllm:\w+)\{", r'\1{lora="a",', text, flags=re.MULTILINE)
    return one + two


def of_windows(text: str) -> str:
    return text.replace("\n", "\r\n")


def load(form: Form, *states: str) -> ObservedLoad:
    return onereplica.load([form(pages.page(state)) for state in states])


def values(found: ObservedLoad) -> dict[str, float]:
    signals = {each.name: getattr(found, each.name) for each in fields(found)}
    return {name: one.value for name, one in signals.items() if isinstance(one, Fresh)}


FORMS: tuple[Form, ...] = (
    both_names,
    without_ranks,
    open_metrics,
    with_times,
    with_more_labels,
    of_windows,
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_under_load_it_says_the_same(form: Form) -> None:
    plain = load(str, "load1", "load2")
    assert len(values(plain)) == 11
    assert values(load(form, "load1", "load2")) == pytest.approx(values(plain))
    assert form(pages.page("load2")) != pages.page("load2")


@pytest.mark.parametrize("form", [*FORMS, older], ids=lambda form: form.__name__)
def test_idle_it_lacks_nothing(form: Form) -> None:
    found = load(form, "idle", "idle", "idle")
    assert lacking(found) == ()
    assert number(found.arrival_rps) == number(found.waiting) == number(found.running) == 0.0


def test_an_older_page_says_the_same_but_for_what_only_the_newer_counts() -> None:
    plain, old = load(str, "load1", "load2"), load(older, "load1", "load2")
    assert lacking(old) == ()
    # Of other histograms: each gap for their mean, queries of the cache for the prompts' tokens.
    differ = {"itl_s", "slo_attainment", "prefix_hit"}
    same = {name: value for name, value in values(plain).items() if name not in differ}
    found = values(old)
    assert {name: found[name] for name in same} == pytest.approx(same)
    assert found.keys() == values(plain).keys()


def test_two_ranks_of_one_replica_add_up() -> None:
    """Data parallelism within a pod: one page, a label `engine` of 0 and 1."""

    def twice(text: str) -> str:
        return text + text.replace('engine="0"', 'engine="1"')

    plain, two = values(load(str, "load1", "load2")), values(load(twice, "load1", "load2"))
    doubled = {"arrival_rps", "waiting", "running"}
    assert two == pytest.approx(
        {name: value * (2 if name in doubled else 1) for name, value in plain.items()}
    )
