"""A refused object names the field and says what to write instead."""

from typing import Any

import pytest

from malformed import MALFORMED, Malformed
from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.api.base import Resource
from trimtab.api.crd import KINDS
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.api.refusal import admitted
from trimtab.errors import InvalidInput

BY_NAME = {kind.KIND: kind for kind in KINDS}
SPEC: dict[str, Any] = {"model": {"name": "org/m"}, "latency": {"endToEnd": "9s"}}


def refusal(spec: Any, kind: type[Resource] = LLMDeployment, **metadata: Any) -> InvalidInput:
    """Return how an object with `spec` is refused."""
    document = {"kind": kind.KIND, "metadata": {"name": "chat", **metadata}, "spec": spec}
    with pytest.raises(InvalidInput) as caught:
        admitted(kind, document, "chat.yaml")
    return caught.value


@pytest.mark.parametrize("case", MALFORMED, ids=str)
def test_whatever_the_api_server_refuses_is_refused_in_a_file_too(case: Malformed) -> None:
    with pytest.raises(InvalidInput) as caught:
        admitted(BY_NAME[case.kind], case.manifest, "chat.yaml")
    error = caught.value
    assert error.field.startswith(f"chat.yaml: {case.kind} {case.name}")
    # A rule between two fields names one of them; what holds in a map or list names its path.
    assert case.names.rpartition(".")[0].partition("[")[0] in str(error)
    assert error.remedy
    assert "pattern" not in str(error)
    assert "Input should" not in str(error)


@pytest.mark.parametrize(
    ("spec", "field", "problem", "remedy"),
    [
        ({"latency": {"timeToFristToken": "1s"}}, "spec.latency.timeToFristToken",
         "there is no such field", "Did you mean timeToFirstToken?"),
        ({"latency": {"wish": "1s"}}, "spec.latency.wish",
         "there is no such field", "Remove it, or write one of percentile, timeToFirstToken"),
        ({"mode": "auto"}, "spec.mode", "'auto' is none of Recommend", "Write Auto"),
        ({"scaling": {"minReplicas": -2}}, "spec.scaling.minReplicas", "-2 is too small",
         "Write 0 or more"),
        ({"latency": {"percentile": 101}}, "spec.latency.percentile", "101 is too large",
         "Write 99 or less"),
        ({"latency": {"endToEnd": "9 seconds"}}, "spec.latency.endToEnd",
         "'9 seconds' is no time", "300ms"),
        ({"latency": {"endToEnd": 9}}, "spec.latency.endToEnd", "9 is no time", "300ms"),
        ({"workload": {"prefixHitRatio": "40%"}}, "spec.workload.prefixHitRatio",
         "'40%' is no plain decimal number", '"0.4"'),
        ({"workload": {"inputTokens": "many"}}, "spec.workload.inputTokens",
         "'many' is no whole number", "without quotes"),
        ({"scaling": {"minReplicas": 3, "maxReplicas": 2}}, "spec.scaling.minReplicas",
         "must not be more than maxReplicas", "Lower it or raise maxReplicas"),
        ({"placement": {"pools": "l4"}}, "spec.placement.pools", "it is no list", "[a, b]"),
        ({"scaling": 3}, "spec.scaling", "it is no object", "minReplicas"),
        ({"model": {}}, "spec.model.name", "it is missing", "Add it"),
        ({"model": {"name": 7}}, "spec.model.name", "7 is no text", "Put it in quotes"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_words(
    spec: dict[str, Any], field: str, problem: str, remedy: str
) -> None:
    error = refusal(SPEC | spec)
    assert error.field == f"chat.yaml: LLMDeployment chat: {field}"
    assert problem in error.problem
    assert remedy in error.remedy


def test_a_typo_comes_before_the_field_that_it_leaves_missing_and_all_are_named() -> None:
    error = refusal({"modl": {"name": "org/m"}, "scaling": {"minReplicas": -1}})
    assert error.field.endswith("spec.modl")
    assert error.remedy.splitlines()[1] == "Wrong too: spec.model, spec.scaling.minReplicas"


def test_what_is_in_a_list_is_counted_as_kubernetes_counts_it() -> None:
    taint = {"key": "nvidia.com/gpu", "effect": "NoSchedul"}
    spec = {"accelerator": "a", "resourceName": "nvidia.com/gpu", "devicesPerNode": 8,
            "nodeSelector": {"a": "b"}, "tolerations": [taint]}  # fmt: skip
    error = refusal(spec, AcceleratorPool)
    assert error.field.endswith("spec.tolerations[0].effect")
    assert error.remedy == "Write NoSchedule"


def test_a_file_without_spec_or_metadata_says_so() -> None:
    for document in ({}, {"metadata": None}, {"metadata": [1]}, {"spec": None}):
        with pytest.raises(InvalidInput, match="LLMDeployment without a name"):
            admitted(LLMDeployment, document, "chat.yaml")


def test_a_field_of_a_newer_version_is_left_out_of_what_an_api_server_admitted() -> None:
    document = {"metadata": {"name": "chat", "uid": "1"}, "spec": SPEC | {"later": 1}}
    assert admitted(LLMDeployment, document, "-").metadata.name == "chat"
    assert "spec.later" in refusal(SPEC | {"later": 1}).field
