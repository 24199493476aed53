"""The API on a real API server: it takes what the models take, and says what users need to read."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from pydantic import ValidationError

from malformed import MALFORMED, Malformed
from strategies import Manifest, blind_manifests, manifests, mutated_manifests
from trimtab.api.base import GROUP, VERSION, Resource
from trimtab.api.crd import KINDS, definition
from trimtab_e2e.cluster import LocalCluster

ROOT = Path(__file__).parents[2]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)

DryRun = Callable[[type[Resource], Manifest], Manifest | str]
"""Returns what the API server would store, or why it refuses."""


@pytest.fixture(scope="module")
def installed(cluster: LocalCluster) -> LocalCluster:
    """The cluster with our kinds, installed from the files that users install."""
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        cluster.apply(path)
    names = [f"crd/{kind.PLURAL}.{GROUP}" for kind in KINDS]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    return cluster


@pytest.fixture(scope="module")
def dry_run(installed: LocalCluster) -> DryRun:
    api = client.CustomObjectsApi(config.new_client_from_config(str(installed.kubeconfig)))
    settings = {"dry_run": "All", "field_validation": "Strict", "_request_timeout": 10}

    def create(kind: type[Resource], manifest: Manifest) -> Manifest | str:
        try:
            if kind.NAMESPACED:
                stored = api.create_namespaced_custom_object(
                    GROUP, VERSION, "default", kind.PLURAL, manifest, **settings
                )
            else:
                stored = api.create_cluster_custom_object(
                    GROUP, VERSION, kind.PLURAL, manifest, **settings
                )
        except ApiException as refusal:
            if refusal.status not in (400, 422):
                raise
            return str(json.loads(refusal.body)["message"])
        return dict(stored)

    return create


@each_kind
def test_the_api_server_finds_nothing_to_object_to(
    installed: LocalCluster, kind: type[Resource]
) -> None:
    live = installed.get("crd", f"{kind.PLURAL}.{GROUP}")
    conditions = {item["type"]: item["status"] for item in live["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"
    wanted = definition(kind)["spec"]["versions"][0]
    (version,) = live["spec"]["versions"]
    assert version["schema"] == wanted["schema"], "the API server dropped or changed something"
    assert version["selectableFields"] == wanted["selectableFields"] if kind.SELECTABLE else True


@each_kind
@pytest.mark.parametrize(
    "generate", [manifests, blind_manifests, mutated_manifests], ids=lambda make: make.__name__
)
@given(data=st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
def test_models_and_api_server_agree(
    dry_run: DryRun,
    kind: type[Resource],
    generate: Callable[[type[Resource]], st.SearchStrategy[Manifest]],
    data: st.DataObject,
) -> None:
    manifest = data.draw(generate(kind))
    answer = dry_run(kind, copy.deepcopy(manifest))
    try:
        read = kind.model_validate(manifest)
    except ValidationError:
        # The API server may accept what it mends first (it drops nulls and stores 5.0 as 5); what
        # it then stores is what the operator reads.
        if not isinstance(answer, str):
            assert json.dumps(answer["spec"]) != json.dumps(manifest["spec"])
            kind.model_validate(answer)
        return
    assert not isinstance(answer, str), f"only the models accept this: {answer}"
    assert kind.model_validate(answer).model_dump()["spec"] == read.model_dump()["spec"]


@pytest.mark.parametrize("case", MALFORMED, ids=str)
def test_a_malformed_manifest_is_refused_and_the_message_names_the_field(
    installed: LocalCluster, case: Malformed
) -> None:
    result = installed.kubectl("apply", "-f", "-", input=json.dumps(case.manifest), check=False)
    assert result.returncode == 1
    assert case.names in result.stderr
    assert case.says in result.stderr


def test_a_manifest_of_absurd_size_is_refused(dry_run: DryRun) -> None:
    kind = next(kind for kind in KINDS if kind.KIND == "LLMDeployment")
    args = ["--flag=" + "x" * 1000] * 1500
    spec = {"model": {"name": "org/m"}, "engine": {"args": args}}
    answer = dry_run(
        kind,
        {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": kind.KIND,
            "metadata": {"name": "big"},
            "spec": spec,
        },
    )
    assert "spec.engine.args: Too many: 1500: must have at most 64 items" in answer


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_the_examples_apply(installed: LocalCluster, namespace: str, path: Path) -> None:
    documents = [_renamed(document, namespace) for document in yaml.safe_load_all(path.read_text())]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    try:
        created = installed.kubectl("apply", "-f", "-", input=text).stdout.splitlines()
        assert len(created) == len(documents)
        assert all(line.endswith(" created") for line in created)
        again = installed.kubectl("apply", "-f", "-", input=text).stdout.splitlines()
        assert all(line.endswith(" unchanged") for line in again)
    finally:
        installed.kubectl("delete", "--ignore-not-found", "-f", "-", input=text)


def _renamed(document: Manifest, namespace: str) -> Manifest:
    """Keep to names and a namespace of the test's own, for the cluster may be somebody's."""
    kind = next(kind for kind in KINDS if document["kind"] == kind.KIND)
    metadata = document["metadata"]
    if kind.NAMESPACED:
        return {**document, "metadata": {**metadata, "namespace": namespace}}
    return {**document, "metadata": {"name": f"{metadata['name']}-{namespace[-6:]}"}}


def words(text: str) -> str:
    """Return `text` with one space between its words."""
    return " ".join(text.split())


@pytest.fixture
def smallest(installed: LocalCluster, namespace: str) -> str:
    """The namespace in which the smallest example is, with no operator to look at it."""
    text = (ROOT / "examples/smallest.yaml").read_text()
    installed.kubectl("apply", "-n", namespace, "-f", "-", input=text)
    return namespace


def test_an_object_is_in_progress_from_the_first_second(
    installed: LocalCluster, smallest: str
) -> None:
    assert installed.get("llmd", "llama", "-n", smallest)["status"] == {
        "observedGeneration": -1,
        "conditions": [
            {
                "type": "Ready",
                "status": "Unknown",
                "reason": "Pending",
                "message": "Waiting for controller",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
                "observedGeneration": -1,
            }
        ],
    }


def test_a_spec_is_stored_as_it_was_written(installed: LocalCluster, smallest: str) -> None:
    written = yaml.safe_load((ROOT / "examples/smallest.yaml").read_text())
    assert installed.get("llmd", "llama", "-n", smallest)["spec"] == written["spec"]


def test_get_prints_the_columns_of_the_design(installed: LocalCluster, smallest: str) -> None:
    status: dict[str, Any] = {
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Serving",
                "message": "5 of 5 replicas serve",
                "lastTransitionTime": "2026-11-25T00:00:00Z",
            }
        ],
        "summary": {
            "model": "Llama-3.1-70B-Instruct",
            "replicas": "5/5",
            "variants": "h200:3,l40s-s:2",
        },
        "observed": {"source": "Prometheus", "slo": "0.99"},
        "cost": {"perHour": "21.40", "saved": "38%"},
    }
    patch = json.dumps({"status": status})
    installed.kubectl(
        *("patch", "llmd", "llama", "-n", smallest, "--subresource=status"),
        *("--type=merge", "-p", patch),
    )
    header, row = installed.kubectl("get", "llmd", "-n", smallest).stdout.splitlines()
    assert words(header) == "NAME MODEL READY REPLICAS VARIANTS SLO $/H SAVED AGE"
    assert words(row).startswith(
        "llama Llama-3.1-70B-Instruct True 5/5 h200:3,l40s-s:2 0.99 21.40 38% "
    )
    wide = installed.kubectl("get", "llmd", "-n", smallest, "-o", "wide").stdout
    assert words(wide.splitlines()[0]).endswith("AGE MODE MESSAGE")
    assert "5 of 5 replicas serve" in wide
    everything = installed.kubectl("get", "llm", "-n", smallest).stdout
    assert "llmdeployment.trimtab.dev/llama" in everything


def test_deployments_can_be_selected_by_model(installed: LocalCluster, smallest: str) -> None:
    for model, found in (("meta-llama/Llama-3.1-8B-Instruct", 1), ("org/other", 0)):
        selector = f"spec.model.name={model}"
        items = installed.get("llmd", "-n", smallest, f"--field-selector={selector}")["items"]
        assert len(items) == found


def test_two_appliers_own_one_environment_variable_each(
    installed: LocalCluster, smallest: str
) -> None:
    live = installed.get("llmd", "llama", "-n", smallest)
    for manager in ("team-a", "team-b"):
        document = {
            **{key: live[key] for key in ("apiVersion", "kind")},
            "metadata": {"name": "llama"},
            "spec": {
                "model": live["spec"]["model"],
                "engine": {"env": [{"name": manager.replace("-", "_"), "value": "x"}]},
            },
        }
        installed.kubectl(
            *("apply", "--server-side", f"--field-manager={manager}", "-n", smallest, "-f", "-"),
            input=json.dumps(document),
        )
    env = installed.get("llmd", "llama", "-n", smallest)["spec"]["engine"]["env"]
    assert [variable["name"] for variable in env] == ["team_a", "team_b"]


def test_explain_tells_what_a_field_means(installed: LocalCluster) -> None:
    def explanation(path: str) -> str:
        return words(installed.kubectl("explain", path).stdout)

    latency = explanation("llmd.spec.latency")
    assert "timeToFirstToken <string> Longest time from a request to its first token" in latency
    assert "Share of requests, in percent, that must meet each target. Default: 95." in latency
    assert "ENUM: Recommend ScaleUpOnly Auto" in explanation("llmd.spec.mode")
    assert "Price of one device for one hour, in $" in explanation("apool.spec.price")


@each_kind
def test_every_kind_has_its_short_name_and_category(
    installed: LocalCluster, kind: type[Resource]
) -> None:
    table = installed.kubectl("api-resources", "--categories=llm", "--no-headers").stdout
    rows = {row.split()[0]: row.split()[1:] for row in table.splitlines()}
    assert rows[kind.PLURAL] == [
        *kind.SHORT_NAMES,
        f"{GROUP}/{VERSION}",
        str(kind.NAMESPACED).lower(),
        kind.KIND,
    ]
