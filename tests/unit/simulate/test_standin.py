import re
from typing import Any

import pytest

from trimtab.actuate.engine import container
from trimtab.api.llmdeployment import LLMDeploymentSpec, ModelSpec
from trimtab.catalog import accelerators
from trimtab.errors import InvalidInput
from trimtab.models.hardware import Parallelism
from trimtab_e2e import fleet_load
from trimtab_e2e.serving_pods import Document, EngineKind, accelerator_name, arguments_of, kind_of
from trimtab_e2e.standin import StandIn

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
SPEC = LLMDeploymentSpec(model=ModelSpec(name=MODEL, served_name="chat", max_model_len=16384))
START = 1_700_000_000.0
STEADY = {"profile": [[0, 5], [1000, 5]], "timeToFirstToken": "500ms"}


def make_pod(
    name: str,
    *,
    ready: bool = True,
    deleted: str | None = None,
    phase: str = "Running",
    accelerator: str = "nvidia-h100-sxm",
    spec: LLMDeploymentSpec = SPEC,
) -> dict[str, Any]:
    labels = {
        "app.kubernetes.io/managed-by": "trimtab",
        "trimtab.dev/deployment": "chat",
        "trimtab.dev/accelerator": accelerator,
        "trimtab.dev/tensor-parallel": "1",
    }
    metadata = {"name": name, "namespace": "team", "uid": f"uid-{name}", "labels": labels}
    if deleted is not None:
        metadata["deletionTimestamp"] = deleted
    return {
        "metadata": metadata,
        "spec": {"containers": [container(spec, Parallelism(), "nvidia.com/gpu")]},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def engine_of(pod: Document) -> EngineKind:
    accelerator = accelerators.get(accelerator_name(pod))
    assert accelerator is not None
    return kind_of(pod, None, accelerator)


def start_engines(stand_in: StandIn, now: float) -> None:
    for pod in stand_in.without_engine():
        stand_in.start_engine(pod["metadata"]["uid"], engine_of(pod), now)


def serving(*pods: str) -> StandIn:
    """A stand-in with ready pods and a load of five requests a second since START."""
    stand_in = StandIn()
    for name in pods:
        stand_in.pod_changed(make_pod(name), START)
    start_engines(stand_in, START)
    stand_in.start_load("team/chat", fleet_load.parse({"team/chat": STEADY})["team/chat"], START)
    return stand_in


def numbers(stand_in: StandIn, now: float) -> dict[str, Any]:
    summary = stand_in.summary(now)["deployments"]["team/chat"]
    assert isinstance(summary, dict)
    return summary


def metric(page: str | None, name: str) -> float:
    assert page is not None
    found = re.search(rf'^{name}{{[^}}]*model_name="chat"[^}}]*}} (\S+)$', page, re.MULTILINE)
    assert found, name
    return float(found[1])


def test_ready_pods_share_the_load_and_tell_of_it() -> None:
    stand_in = serving("a", "b")
    end = START + 100
    found = numbers(stand_in, end)
    assert found["arrived"] == pytest.approx(500, rel=0.05)
    assert found["served"] + found["in_flight"] == found["arrived"]
    assert found["attainment"]["all"] > 0.99
    assert found["ttft_s"]["p50"] < 0.5
    assert found["last_minute"]["arrived"] == pytest.approx(300, rel=0.1)
    pages = [stand_in.page("team", name, end) for name in ("a", "b")]
    counts = [metric(page, "vllm:time_to_first_token_seconds_count") for page in pages]
    assert sum(counts) == pytest.approx(found["arrived"], abs=10)
    assert min(counts) > 0.4 * sum(counts)
    running = sum(metric(page, "vllm:num_requests_running") for page in pages)
    assert running == found["in_flight"]


def test_a_pod_that_is_not_ready_has_no_page_and_requests_wait_for_it() -> None:
    stand_in = serving()
    stand_in.pod_changed(make_pod("late", ready=False), START)
    assert stand_in.without_engine() == []
    assert stand_in.page("team", "late", START + 20) is None
    assert numbers(stand_in, START + 20)["waiting_at_gateway"] == pytest.approx(100, rel=0.2)
    stand_in.pod_changed(make_pod("late"), START + 20)
    start_engines(stand_in, START + 20)
    found = numbers(stand_in, START + 40)
    assert found["waiting_at_gateway"] == found["timed_out"] == 0
    assert 0.3 < found["attainment"]["all"] < 0.7
    assert metric(stand_in.page("team", "late", START + 40), "vllm:prompt_tokens_total") > 0


def test_a_deleted_pod_finishes_what_it_has_although_the_fake_node_forgets_it() -> None:
    stand_in = serving("a")
    before = numbers(stand_in, START + 30)
    assert before["in_flight"] > 0
    deleted = make_pod("a", deleted="2023-11-14T22:15:20Z")  # START + 120
    stand_in.pod_changed(deleted, START + 30)
    last_state = make_pod("a", deleted="2023-11-14T22:13:51Z")  # as KWOK deletes it at last
    stand_in.pod_changed(last_state, START + 31)
    stand_in.pod_deleted(last_state, START + 31)
    assert stand_in.page("team", "a", START + 31) is None
    found = numbers(stand_in, START + 60)
    assert found["lost"] == 0
    assert found["served"] == before["served"] + before["in_flight"]
    assert found["waiting_at_gateway"] == found["in_flight"] > 0


@pytest.mark.parametrize("forced", [True, False])
def test_a_killed_pod_loses_what_it_has(forced: bool) -> None:
    stand_in = serving("a")
    before = numbers(stand_in, START + 30)
    if forced:
        deleted = make_pod("a", deleted="2023-11-14T22:13:50Z")  # at once
        stand_in.pod_changed(deleted, START + 30)
        stand_in.pod_deleted(deleted, START + 30)
    else:
        stand_in.pod_changed(make_pod("a", phase="Failed", ready=False), START + 30)
    assert numbers(stand_in, START + 30.01)["lost"] == before["in_flight"] > 0


def test_a_list_tells_of_deletions_that_no_watch_saw() -> None:
    stand_in = serving("a", "b")
    stand_in.pods_listed([make_pod("b")], START + 30)
    found = numbers(stand_in, START + 60)
    assert found["replicas"] == 1
    assert found["lost"] > 0
    assert stand_in.page("team", "a", START + 60) is None


def test_a_grace_period_ends() -> None:
    stand_in = serving("a")
    numbers(stand_in, START + 30)
    stand_in.pod_changed(make_pod("a", deleted="2023-11-14T22:13:51Z"), START + 30)
    assert numbers(stand_in, START + 30.9)["lost"] == 0
    assert numbers(stand_in, START + 31.1)["lost"] > 0


def test_an_engine_that_would_not_start_is_a_problem_and_not_a_replica() -> None:
    stand_in = serving("a")
    large = LLMDeploymentSpec(model=ModelSpec(name="meta-llama/Llama-3.1-70B-Instruct"))
    stand_in.pod_changed(make_pod("b", spec=large), START)
    start_engines(stand_in, START)
    assert "needs" in stand_in.summary(START + 1)["problems"]["team/b"]
    assert stand_in.page("team", "b", START + 1) is None
    assert stand_in.without_engine() == []
    assert numbers(stand_in, START + 10)["replicas"] == 1


def test_a_load_begins_once() -> None:
    stand_in = serving("a")
    load = fleet_load.parse({"team/chat": STEADY})["team/chat"]
    with pytest.raises(InvalidInput, match="load already"):
        stand_in.start_load("team/chat", load, START + 5)


def test_the_engine_is_what_the_pods_arguments_say() -> None:
    spec = LLMDeploymentSpec.model_validate(
        {
            "model": {"name": MODEL, "maxModelLen": 2048, "kvCacheDtype": "fp8"},
            "engine": {"maxNumSeqs": 64, "maxNumBatchedTokens": 1024},
        }
    )
    settings = engine_of(make_pod("a", spec=spec)).settings
    assert (settings.max_model_len, settings.kv_dtype) == (2048, "fp8")
    assert (settings.max_num_seqs, settings.max_num_batched_tokens) == (64, 1024)


def test_what_the_arguments_do_not_tell_comes_from_the_deployment() -> None:
    """The architecture of a model that the catalogue does not know, and how it is stored."""
    model = ModelSpec.model_validate(
        {
            "name": "example/unheard-of",
            "quantization": "awq",
            "architecture": {
                "layers": 16,
                "hiddenSize": 2048,
                "attentionHeads": 32,
                "intermediateSize": 8192,
                "vocabSize": 128256,
            },
        }
    )
    pod = make_pod("a", spec=LLMDeploymentSpec(model=model))
    accelerator = accelerators.get("nvidia-l4")
    assert accelerator is not None
    kind = kind_of(pod, model, accelerator)
    assert kind.geometry.layers == 16
    assert kind.settings.weight_dtype == "awq"
    with pytest.raises(InvalidInput, match="unheard-of"):
        kind_of(pod, None, accelerator)


@pytest.mark.parametrize(
    ("words", "model"),
    [
        (["vllm", "serve", "org/m", "--port=8000"], "org/m"),
        (["/usr/bin/python3", "--model", "org/m"], "org/m"),
        (["--enable-lora", "--model=org/m", "extra"], "org/m"),
    ],
)
def test_models_are_found_in_every_spelling(words: list[str], model: str) -> None:
    pod = {
        "spec": {"containers": [{"name": "other"}, {"args": words, "ports": [{"name": "http"}]}]}
    }
    assert arguments_of(pod)[0] == model


def test_arguments_without_a_model_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no model"):
        arguments_of({"spec": {"containers": [{"command": ["vllm", "serve", "--port=1"]}]}})


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"team/chat": {"profil": []}}, "profil"),
        ({"team/chat": {"scale": 0}}, "scale"),
        ({"team/chat": {"timeToFirstToken": "soon"}}, "timeToFirstToken"),
        ({"chat": {}}, "chat"),
        ([], "load"),
    ],
)
def test_a_wrong_load_is_refused_by_the_name_of_its_field(document: Any, field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        fleet_load.parse(document)
