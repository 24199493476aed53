"""The children of a deployment, held against golden documents and against what must hold always."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import builders
from trimtab.actuate import engine
from trimtab.actuate.manifests import children
from trimtab.api.acceleratorpool import TaintEffect, Toleration
from trimtab.api.llmdeployment import EngineSpec, EngineType
from trimtab.api.naming import HASH_ANNOTATION, POOL_LABEL
from trimtab.models.hardware import Parallelism
from trimtab.models.snapshot import Key

GOLDEN = Path(__file__).parents[2] / "golden" / "manifests"

MINIMAL = builders.deployment_state()
RICH = builders.deployment_state(
    key=Key(namespace="assistants", name="support"),
    spec=builders.spec(
        model={
            "name": "meta-llama/Llama-3.1-70B-Instruct",
            "servedName": "support",
            "revision": "main",
            "quantization": "fp8",
            "kvCacheDtype": "fp8",
            "maxModelLen": 16384,
        },
        engine={
            "image": "registry.example/vllm-openai:v0.17.2",
            "args": ["--enable-prefix-caching"],
            "env": [
                {"name": "VLLM_LOGGING_LEVEL", "value": "INFO"},
                {"name": "HOME", "value": "/cache/home"},
                {"name": "PROXY", "secret": {"name": "proxy", "key": "url"}},
            ],
            "huggingFaceToken": {"name": "hf-token-secret", "key": "token"},
            "imagePullSecret": "registry",
            "cache": {"claimName": "weights"},
            "adapters": [{"name": "sql", "source": "acme/sql-lora"}],
            "cpu": "12",
            "memory": "96Gi",
            "maxNumSeqs": 128,
            "gpuMemoryUtilization": "0.95",
            "startupTimeout": "45m",
            "shutdownTimeout": "2m",
        },
    ),
)
H100 = builders.pool()
MI300X = builders.pool(
    name="mi300x.spot",
    accelerator_name="amd-mi300x",
    resource_name="amd.com/gpu",
    node_selector=(("amd.com/gpu.family", "AI"),),
    tolerations=(
        Toleration(key="amd.com/gpu", effect=TaintEffect.NO_SCHEDULE),
        Toleration(key="team", value="ml"),
    ),
)
POOLS = {pool.name: pool for pool in (H100, MI300X)}
ROOM: Mapping[str, int] = defaultdict(lambda: 100)
"""Every pool has devices to spare."""
CASES = {
    "minimal": (MINIMAL, [builders.target()]),
    "rich": (
        RICH,
        [
            builders.target(pool="mi300x.spot", parallelism=Parallelism(tensor=4), replicas=1),
            builders.target(parallelism=Parallelism(tensor=2, pipeline=2), replicas=0),
        ],
    ),
    "scaled-to-zero": (MINIMAL, []),
}


def deployment_in(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """The one child Deployment."""
    (found,) = (document for document in documents if document["kind"] == "Deployment")
    return found


@pytest.mark.parametrize("name", CASES)
def test_children_are_the_golden_documents(name: str) -> None:
    state, targets = CASES[name]
    path = GOLDEN / f"{name}.yaml"
    got = children(state, targets, POOLS, ROOM)
    assert got == list(yaml.safe_load_all(path.read_text())), (
        "if the change is meant: PYTHONPATH=tests python tests/unit/actuate/test_manifests.py"
    )


def test_the_order_of_targets_does_not_matter() -> None:
    state, targets = CASES["rich"]
    assert children(state, targets, POOLS, ROOM) == children(state, targets[::-1], POOLS, ROOM)


def test_every_child_is_owned_and_stamped() -> None:
    for document in children(RICH, CASES["rich"][1], POOLS, ROOM):
        (owner,) = document["metadata"]["ownerReferences"]
        assert owner["uid"] == RICH.uid
        assert owner["controller"] is True
        assert document["metadata"]["namespace"] == RICH.key.namespace
        assert len(document["metadata"]["annotations"][HASH_ANNOTATION]) == 16


def test_the_digest_moves_with_the_content_and_not_with_the_replicas_of_others() -> None:
    def digests(replicas: int) -> dict[str, str]:
        documents = children(MINIMAL, [builders.target(replicas=replicas)], POOLS, ROOM)
        return {
            f"{document['kind']}/{document['metadata']['name']}": document["metadata"][
                "annotations"
            ][HASH_ANNOTATION]
            for document in documents
        }

    two, three = digests(2), digests(3)
    changed = {name for name in two if two[name] != three[name]}
    assert changed == {"Deployment/chat-h100-tp1"}


def test_the_selector_is_only_ours_and_every_service_selects_its_pods() -> None:
    documents = children(MINIMAL, [builders.target()], POOLS, ROOM)
    deployment = deployment_in(documents)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    selectors += [item["spec"]["selector"] for item in documents if item["kind"] == "Service"]
    assert len(selectors) == 3
    assert all(selector.items() <= labels.items() for selector in selectors)
    assert all(key.startswith("trimtab.dev/") for selector in selectors for key in selector)


def test_the_pod_outlives_everything_that_happens_before_sigkill() -> None:
    for state in (MINIMAL, RICH):
        deployment = deployment_in(children(state, [builders.target()], POOLS, ROOM))
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain = engine.shutdown_seconds(state.spec.engine or EngineSpec())
        assert pod["terminationGracePeriodSeconds"] >= sleep + drain + 10
        probe = container["startupProbe"]
        startup = probe["periodSeconds"] * probe["failureThreshold"]
        assert deployment["spec"]["progressDeadlineSeconds"] > startup


def test_flags_that_an_old_engine_does_not_know_are_left_out() -> None:
    def flags(version: tuple[int, int] | None) -> set[str]:
        arguments = engine.arguments(builders.spec(), Parallelism(), version)
        return {argument.partition("=")[0] for argument in arguments}

    new, old = flags((0, 33)), flags((0, 15))
    assert new - old == {"--shutdown-timeout", "--disable-access-log-for-endpoints"}
    assert flags(None) == new


def test_an_image_of_the_user_wins_over_that_of_the_vendor() -> None:
    def image(spec: dict[str, Any], resource: str) -> str:
        container = engine.container(builders.spec(**spec), Parallelism(), resource)
        return str(container["image"])

    assert image({}, "nvidia.com/gpu").startswith("vllm/vllm-openai:v")
    assert "rocm" in image({}, "amd.com/gpu")
    assert image({"engine": {"image": "mine:v1.0"}}, "amd.com/gpu") == "mine:v1.0"


ENGINES = [each for each in EngineType if each is not EngineType.CUSTOM]


@pytest.mark.parametrize("kind", ENGINES)
def test_every_engine_serves_on_one_port_under_one_name(kind: EngineType) -> None:
    """So that any router can serve all variants; what decides capacity is pinned."""
    settings = {"type": kind.value, "maxNumSeqs": 8}
    spec = builders.spec(engine=settings, model={"name": "org/m", "maxModelLen": 4096})
    container = engine.container(spec, Parallelism(tensor=2), "nvidia.com/gpu")
    assert container["command"]
    assert container["image"]
    text = " ".join(container["args"])
    assert "org/m" in text
    assert re.search(r"-port=8000\b", text)
    assert container["ports"][0]["containerPort"] == 8000
    for number in ("2", "8", "8192"):  # devices, batch, tokens of a step
        assert kind is EngineType.LLAMA_CPP or f"={number}" in text
    assert re.search(r"=(4096|32768)\b", text)
    assert "{" not in text


def test_a_custom_engine_gets_its_own_arguments_and_nothing_else() -> None:
    spec = builders.spec(
        engine={
            "type": "custom", "image": "mine:v1", "args": ["--port=80"], "port": 80,
            "healthPath": "/up",
        }
    )  # fmt: skip
    container = engine.container(spec, Parallelism(), "nvidia.com/gpu")
    assert "command" not in container
    assert container["args"] == ["--port=80"]
    assert container["ports"][0]["containerPort"] == 80
    assert container["readinessProbe"]["httpGet"]["path"] == "/up"


def test_braces_in_a_name_are_no_placeholder() -> None:
    spec = builders.spec(engine={"args": ["--x={model}"]})
    assert "--x={model}" in engine.arguments(spec, Parallelism(), None)


def test_a_page_at_another_path_is_named_on_the_pods() -> None:
    def annotations(kind: str) -> Any:
        spec = builders.spec(engine={"type": kind})
        state = dataclasses.replace(MINIMAL, spec=spec)
        template = deployment_in(children(state, [builders.target()], POOLS, ROOM))["spec"][
            "template"
        ]
        return template["metadata"].get("annotations")

    assert annotations("vllm") is None
    assert annotations("tensorrt-llm") == {"trimtab.dev/metrics-path": "/prometheus/metrics"}


def test_a_pool_of_another_vendor_runs_as_the_user_of_its_image() -> None:
    def security(name: str) -> dict[str, Any]:
        targets = [builders.target(pool=name)]
        pod = deployment_in(children(MINIMAL, targets, POOLS, ROOM))["spec"]["template"]["spec"]
        context: dict[str, Any] = pod["securityContext"]
        return context

    assert security("h100")["runAsNonRoot"] is True
    assert security("mi300x.spot") == {"seccompProfile": {"type": "RuntimeDefault"}}


def test_names_of_children_are_bounded_and_distinct() -> None:
    state = dataclasses.replace(MINIMAL, key=Key(namespace="a", name="n" * 40))
    pools = {f"{'p' * 50}-{i}": builders.pool(name=f"{'p' * 50}-{i}") for i in range(2)}
    targets = [builders.target(pool=name) for name in pools]
    names = [item["metadata"]["name"] for item in children(state, targets, pools, ROOM)]
    assert all(len(name) <= 63 for name in names)
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("replicas", "spare", "breaks"),
    [
        ({"h100": 2}, {"h100": 1}, set()),
        ({"h100": 2}, {"h100": 0}, {"h100"}),
        # The only replica stays until another serves, and waits for room if need be.
        ({"h100": 1}, {"h100": 0}, set()),
        ({"h100": 1, "mi300x.spot": 1}, {"h100": 0, "mi300x.spot": 0}, set()),
        ({"h100": 1, "mi300x.spot": 1}, {"h100": 0, "mi300x.spot": 1}, {"h100"}),
        ({"h100": 1, "mi300x.spot": 0}, {"h100": 0, "mi300x.spot": 1}, set()),
    ],
)
def test_a_rollout_in_a_full_pool_breaks_before_it_makes_where_others_serve(
    replicas: dict[str, int], spare: dict[str, int], breaks: set[str]
) -> None:
    targets = [builders.target(pool=pool, replicas=count) for pool, count in replicas.items()]
    documents = children(MINIMAL, targets, POOLS, spare)
    rolling = {
        document["metadata"]["labels"][POOL_LABEL]: document["spec"]["strategy"]["rollingUpdate"]
        for document in documents
        if document["kind"] == "Deployment"
    }
    assert rolling == {
        pool: {"maxSurge": 0, "maxUnavailable": 1}
        if pool in breaks
        else {"maxSurge": 1, "maxUnavailable": 0}
        for pool in replicas
    }


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def write_golden_documents() -> None:
    """Write them anew: read the diff before you commit it."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, (state, targets) in CASES.items():
        documents = children(state, targets, POOLS, ROOM)
        text = yaml.dump_all(documents, Dumper=_NoAliases, sort_keys=False, width=100)
        (GOLDEN / f"{name}.yaml").write_text(text)


if __name__ == "__main__":
    write_golden_documents()
