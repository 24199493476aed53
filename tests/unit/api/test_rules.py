from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from malformed import MALFORMED, Malformed
from trimtab.api.base import ApiModel
from trimtab.api.crd import KINDS, object_schema
from trimtab.api.engine import OWNED_ARGS, EngineSpec
from trimtab.api.llmdeployment import LLMDeploymentSpec
from trimtab.api.policy import LatencyPolicy, ScalingPolicy
from trimtab.api.rules import VALIDATIONS

KIND = {kind.KIND: kind for kind in KINDS}


@pytest.mark.parametrize("case", MALFORMED, ids=str)
def test_a_malformed_manifest_is_refused_by_field(case: Malformed) -> None:
    if case.typo:
        KIND[case.kind].model_validate(case.manifest)  # only the API server knows all fields
        return
    with pytest.raises(ValidationError) as refusal:
        KIND[case.kind].model_validate(case.manifest)
    (error,) = refusal.value.errors()
    where = ".".join(str(step) for step in error["loc"])
    wanted = case.names.replace("[", ".").replace("]", "")
    # A rule between fields stands at their parent, and says itself which of them to change; so do
    # duplicates, which stand at their list.
    assert wanted.startswith(where)
    rest = wanted.removeprefix(where).lstrip(".")
    assert rest.isdigit() or error["msg"].startswith(rest)


@pytest.mark.parametrize(
    ("model", "document"),
    [
        (ScalingPolicy, {"minReplicas": 3, "maxReplicas": 3}),
        (ScalingPolicy, {"minReplicas": 0, "scaleToZeroAfter": "30m"}),
        (ScalingPolicy, {"minReplicas": 1, "scaleToZeroAfter": "30m"}),
        (LatencyPolicy, {"timeToFirstToken": "1s", "endToEnd": "1000ms"}),
        (LatencyPolicy, {"timeToFirstToken": "100ms200ms", "endToEnd": "300ms"}),
        (LatencyPolicy, {"timeToFirstToken": "1ms", "interTokenLatency": "1m", "endToEnd": "24h"}),
        (EngineSpec, {"gpuMemoryUtilization": "1.000"}),
        (EngineSpec, {"args": ["--model-loader-extra-config={}", "--max-lora-rank=64", "-O3"]}),
        (EngineSpec, {"args": ["--speculative-config", '{"model": "x", "port": 1}']}),
        (EngineSpec, {"env": [{"name": "HF_HUB_OFFLINE", "value": ""}]}),
        (EngineSpec, {"image": "registry.example:5000/team/vllm:v0.33.0@sha256:" + "0" * 64}),
        (EngineSpec, {"memory": "64Ti", "cpu": "1m"}),
        (EngineSpec, {"type": "custom", "image": "a/b", "args": ["--port=80"], "port": 80}),
        (EngineSpec, {"type": "llama-cpp", "maxNumSeqs": 8}),
        (EngineSpec, {"type": "sglang", "adapters": [{"name": "a", "source": "org/a"}]}),
        (
            LLMDeploymentSpec,
            {"model": {"name": "org/m"}, "policyRef": "p", "latency": {"percentile": 99}},
        ),
        (
            LLMDeploymentSpec,
            {"model": {"name": "m"}, "policyRef": "p", "scaling": {"scaleToZeroAfter": "30m"}},
        ),
        (
            LLMDeploymentSpec,
            {"model": {"name": "m"}, "workload": {"inputTokens": 8000, "outputTokens": 192}},
        ),
    ],
)
def test_what_is_just_allowed_is_accepted(model: type[ApiModel], document: dict[str, Any]) -> None:
    read = model.model_validate(document)
    assert read.model_dump(by_alias=True, exclude_none=True, mode="json") == document


@pytest.mark.parametrize("flag", OWNED_ARGS)
@pytest.mark.parametrize(
    "spelling", ["--{dash}", "--{dash}=1", "--{dash} 1", "--{under}", "--{under}=1"]
)
def test_an_argument_of_ours_is_refused_in_every_spelling(flag: str, spelling: str) -> None:
    argument = spelling.format(dash=flag, under=flag.replace("-", "_"))
    with pytest.raises(ValidationError, match="what Trimtab sets itself"):
        EngineSpec(args=[argument])


@pytest.mark.parametrize("wrong", ["5", 5.0, True])
def test_types_are_as_strict_as_the_api_servers(wrong: Any) -> None:
    with pytest.raises(ValidationError, match="valid integer"):
        ScalingPolicy.model_validate({"maxReplicas": wrong})


def test_every_rule_has_a_manifest_that_breaks_it() -> None:
    rules = {
        (place["message"], place.get("fieldPath", "").lstrip("."))
        for kind in KINDS
        for schema in _schemas(object_schema(kind))
        for place in schema.get(VALIDATIONS, [])
    }
    untried = [
        f"{field} {message}"
        for message, field in rules
        if not any(case.says in message and case.names.endswith(field) for case in MALFORMED)
    ]
    assert not untried


def _schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for child in schema.get("properties", {}).values():
        yield from _schemas(child)
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from _schemas(schema[keyword])
