"""The Helm chart on a real API server: what it installs, what it may do, what it refuses."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from trimtab.cli.main import app
from trimtab_e2e import binaries
from trimtab_e2e.cluster import LocalCluster, Options, select_cluster
from trimtab_e2e.waiting import eventually

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/trimtab"
NAMESPACE = "trimtab-system"

Helm = Callable[..., str]


@pytest.fixture(scope="module")
def chart_cluster() -> Iterator[LocalCluster]:
    """A cluster of its own: what Helm installs must not be there yet."""
    with select_cluster("chart", Options(kwok=False)) as cluster:
        cluster.kubectl("create", "namespace", NAMESPACE)
        label = "pod-security.kubernetes.io/enforce=restricted"
        cluster.kubectl("label", "namespace", NAMESPACE, label)
        yield cluster


def helm_of(cluster: LocalCluster, major: int) -> Helm:
    program = binaries.helm(major)

    def run(*args: str, fails: bool = False) -> str:
        result = subprocess.run(
            [program, f"--kubeconfig={cluster.kubeconfig}", "-n", NAMESPACE, *args],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (result.returncode != 0) == fails, result.stdout + result.stderr
        return result.stderr if fails else result.stdout

    return run


@pytest.fixture(scope="module")
def helm(chart_cluster: LocalCluster) -> Helm:
    return helm_of(chart_cluster, 3)


@pytest.fixture(scope="module")
def release(helm: Helm) -> Iterator[str]:
    helm("install", "trimtab", str(CHART), "--set", "prometheus.url=http://prometheus:9090")
    yield "trimtab"
    helm("uninstall", "trimtab")


def rendered(helm: Helm, *settings: str) -> list[dict[str, Any]]:
    flags = [part for each in settings for part in ("--set", each)]
    text = helm("template", "trimtab", str(CHART), "--include-crds", *flags)
    return [document for document in yaml.safe_load_all(text) if document]


def grants(documents: list[dict[str, Any]], *kinds: str) -> set[tuple[str, str, str, str]]:
    """Give every (group, resource, name, verb) that the roles of these kinds allow."""
    return {
        (group, resource, name, verb)
        for document in documents
        if document["kind"] in kinds
        and not re.search("-(view|edit)$", document["metadata"]["name"])
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", ["*"])
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("major", binaries.HELM_VERSIONS)
def test_the_chart_has_no_fault_that_lint_finds(chart_cluster: LocalCluster, major: int) -> None:
    assert "0 chart(s) failed" in helm_of(chart_cluster, major)("lint", "--strict", str(CHART))


def test_every_helm_renders_the_same(chart_cluster: LocalCluster) -> None:
    """It is what `kubectl apply`, Argo CD and Flux get."""
    three, four = (rendered(helm_of(chart_cluster, major)) for major in (3, 4))
    assert three == four


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("replicaCoutn=3", "replicaCoutn"),
        ("prometheus.uri=http://p", "uri"),
        ("prometheus.url=prometheus:9090", "/prometheus/url"),
        ("planner.period=15", "/planner/period"),
        ("planner.headroom=1.5", "/planner/headroom"),
        ("logging.level=trace", "/logging/level"),
        ("watchNamespaces={Team_A}", "/watchNamespaces/0"),
        ("image.digest=latest", "/image/digest"),
        ("metrics.port=8080", "metrics.port: 8080 is the port of the probes"),
        ("serviceMonitor.enabled=true,metrics.enabled=false", "needs metrics.enabled"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: Helm, setting: str, says: str) -> None:
    assert says in helm("template", "trimtab", str(CHART), "--set", setting, fails=True)


@pytest.mark.parametrize(
    ("setting", "ports"),
    [
        ("prometheus.url=http://prometheus:9090", {443, 6443, 9090}),
        ("prometheus.url=https://thanos.monitoring:10902/api", {443, 6443, 9090, 10902}),
        ("prometheus.url=http://prometheus.monitoring", {443, 6443, 9090, 80}),
        ("prometheus.url=https://[fd00::1],networkPolicy.egressPorts={6443}", {6443, 443}),
        ("metricsSource=scrape", {443, 6443, 9090, 8000}),
    ],
)
def test_the_network_policy_lets_the_operator_reach_what_it_is_told_to_ask(
    helm: Helm, setting: str, ports: set[int]
) -> None:
    documents = rendered(helm, "networkPolicy.enabled=true", setting)
    [policy] = [each for each in documents if each["kind"] == "NetworkPolicy"]
    dns, rest = policy["spec"]["egress"]
    assert {each["port"] for each in dns["ports"]} == {53}
    assert sorted(each["port"] for each in rest["ports"]) == sorted(ports)


def test_its_rights_are_those_that_the_tests_run_with(helm: Helm) -> None:
    with (ROOT / "deploy/rbac.yaml").open() as file:
        tried = [document for document in yaml.safe_load_all(file) if document]
    both = "ClusterRole", "Role"
    assert grants(rendered(helm), *both) == grants(tried, *both)


def test_the_namespaced_mode_writes_nothing_elsewhere_but_pools(helm: Helm) -> None:
    documents = rendered(helm, "watchNamespaces={team-a,team-b}")
    everywhere = grants(documents, "ClusterRole")
    writes = {(g, r) for g, r, _, verb in everywhere if verb not in ("get", "list", "watch")}
    assert writes == {
        ("trimtab.dev", "acceleratorpools"),
        ("trimtab.dev", "acceleratorpools/status"),
        ("trimtab.dev", "fleetbudgets/status"),
    }
    roles = {
        (d["metadata"]["namespace"], d["metadata"]["name"])
        for d in documents
        if d["kind"] == "Role"
    }
    assert roles == {
        (NAMESPACE, "trimtab"), ("team-a", "trimtab-serving"), ("team-b", "trimtab-serving"),
    }  # fmt: skip
    cluster_wide = grants(rendered(helm), "ClusterRole")
    assert everywhere | grants(documents, "Role") == cluster_wide | grants(rendered(helm), "Role")


def test_its_definitions_are_the_generated_ones(helm: Helm) -> None:
    documents = rendered(helm, "crds.keep=false")
    found = [d for d in documents if d["kind"] == "CustomResourceDefinition"]
    assert len(found) == len(list((ROOT / "crds").glob("*.yaml")))
    for definition in found:
        path = ROOT / "crds" / f"{definition['metadata']['name']}.yaml"
        assert definition == yaml.safe_load(path.read_text())


def test_everything_that_can_be_switched_on_is_accepted_by_the_server(
    chart_cluster: LocalCluster, helm: Helm, release: str, tmp_path: Path
) -> None:
    more = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"},
    }  # fmt: skip
    for path in binaries.monitoring_definitions():
        chart_cluster.kubectl("apply", "--server-side", "-f", str(path))
        established = ("wait", "--for=condition=Established", "--timeout=60s", "-f", str(path))
        chart_cluster.kubectl(*established)
    values = {
        "networkPolicy": {"enabled": True},
        "serviceMonitor": {"enabled": True, "additionalLabels": {"release": "monitoring"}},
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "decisionLog": {"enabled": True},
        "prometheus": {"authSecret": "prometheus", "headers": {"X-Scope-OrgID": "team-a"}},
        "dashboards": {"enabled": True},
        "priorityClassName": "system-cluster-critical",
        "extraArgs": ["--resync=5m"],
        "extraObjects": [more],
    }
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    text = helm("template", "trimtab", str(CHART), "--values", str(path))
    documents = [document for document in yaml.safe_load_all(text) if document]
    assert any(d["metadata"]["name"] == "trimtab-more" for d in documents)
    kinds = {document["kind"] for document in documents}
    assert {"ServiceMonitor", "PodMonitor", "PrometheusRule"} <= kinds
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    tried = chart_cluster.kubectl(
        "apply", "-n", NAMESPACE, "--server-side", "--force-conflicts", "--dry-run=server",
        "-f", "-", input=text,
    )  # fmt: skip
    assert "Warning" not in tried.stderr


def test_its_pods_pass_the_restricted_standard(chart_cluster: LocalCluster, release: str) -> None:
    def pods() -> list[dict[str, Any]]:
        selector = "app.kubernetes.io/component=operator"
        items: list[dict[str, Any]] = chart_cluster.get("pods", "-n", NAMESPACE, "-l", selector)[
            "items"
        ]
        return items

    # The namespace enforces it: pods that broke it would not exist.
    eventually(lambda: len(pods()) == 2, "both pods are admitted")
    for pod in pods():
        container = pod["spec"]["containers"][0]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"]["limits"]["memory"]


def test_the_command_line_knows_every_argument(helm: Helm) -> None:
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    options = command.commands["run"].params
    known = {flag for each in options for flag in (*each.opts, *each.secondary_opts)}
    documents = rendered(
        helm, "prometheus.url=http://p", "decisionLog.enabled=true", "watchNamespaces={team-a}",
        "prometheus.authSecret=access", "prometheus.headers.X-Scope-OrgID=team-a",
        "prometheus.labels.cluster=eu-1",
    )  # fmt: skip
    [deployment] = [document for document in documents if document["kind"] == "Deployment"]
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[0] == "run"
    assert {each.partition("=")[0] for each in arguments[1:]} <= known


@pytest.mark.parametrize("major", binaries.HELM_VERSIONS)
def test_an_upgrade_and_a_rollback_keep_the_definitions_and_what_they_hold(
    chart_cluster: LocalCluster, release: str, major: int
) -> None:
    helm = helm_of(chart_cluster, major)  # Helm 4 upgrades what Helm 3 installed, and installs anew
    chart_cluster.apply(
        {
            "apiVersion": "trimtab.dev/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"name": "kept", "namespace": "default"},
            "spec": {"model": {"name": "org/model"}},
        }
    )
    uid = chart_cluster.get("llmd", "kept")["metadata"]["uid"]
    helm("upgrade", release, str(CHART), "--reset-then-reuse-values", "--set", "replicaCount=1")
    assert chart_cluster.get("deploy", release, "-n", NAMESPACE)["spec"]["replicas"] == 1
    assert not chart_cluster.get("pdb", "-n", NAMESPACE)["items"]
    helm("rollback", release, "1")
    assert chart_cluster.get("deploy", release, "-n", NAMESPACE)["spec"]["replicas"] == 2
    helm("uninstall", release)
    assert chart_cluster.get("llmd", "kept")["metadata"]["uid"] == uid
    helm("install", release, str(CHART))
    assert chart_cluster.get("llmd", "kept")["metadata"]["uid"] == uid


def test_a_secret_that_its_writer_may_not_read_is_refused(
    chart_cluster: LocalCluster, release: str
) -> None:
    chart_cluster.kubectl("create", "namespace", "tenant")
    edit = ("create", "rolebinding", "-n", "tenant", "writer", "--user=tenant")
    chart_cluster.kubectl(*edit, "--clusterrole=trimtab-edit")
    chart_cluster.kubectl(
        "create", "role", "-n", "tenant", "own", "--verb=get", "--resource=secrets",
        "--resource-name=mine",
    )  # fmt: skip
    chart_cluster.kubectl(
        "create", "rolebinding", "-n", "tenant", "own", "--user=tenant", "--role=own"
    )

    def create(engine: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        document = {
            "apiVersion": "trimtab.dev/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"name": "tried", "namespace": "tenant"},
            "spec": {"model": {"name": "org/model"}, "engine": engine},
        }
        return chart_cluster.kubectl(
            "create", "--dry-run=server", "-f", "-", "--as=tenant", input=json.dumps(document),
            check=False,
        )  # fmt: skip

    def token(name: str) -> dict[str, str]:
        return {"name": name, "key": "token"}

    refusal = "you may not read each of the Secrets it names (theirs)"
    # Roles and policies take effect a moment after they are written.
    eventually(lambda: create({}).returncode == 0, "the tenant may write")
    eventually(lambda: refusal in create({"imagePullSecret": "theirs"}).stderr, "the policy holds")
    theirs: list[dict[str, Any]] = [
        {"huggingFaceToken": token("theirs")},
        {"imagePullSecret": "theirs"},
        {"env": [{"name": "A", "value": "b"}, {"name": "KEY", "secret": token("theirs")}]},
    ]
    for engine in theirs:
        refused = create(engine)
        assert refused.returncode != 0
        assert refusal in refused.stderr
    mine: list[dict[str, Any]] = [
        {},
        {"huggingFaceToken": token("mine"), "imagePullSecret": "mine"},
        {"env": [{"name": "A", "value": "b"}, {"name": "KEY", "secret": token("mine")}]},
    ]
    for engine in mine:
        allowed = create(engine)
        assert allowed.returncode == 0, allowed.stderr


@pytest.mark.parametrize(
    ("role", "verb", "answer"),
    [("view", "get", "yes"), ("view", "create", "no"), ("edit", "create", "yes")],
)
def test_the_built_in_roles_reach_our_kinds(
    chart_cluster: LocalCluster, release: str, role: str, verb: str, answer: str
) -> None:
    user = f"{role}-{verb}"
    chart_cluster.kubectl(
        "create", "clusterrolebinding", user, f"--user={user}", f"--clusterrole={role}"
    )

    def says() -> str:
        asked = chart_cluster.kubectl("auth", "can-i", verb, "llmd", f"--as={user}", check=False)
        return asked.stdout.strip()

    eventually(lambda: says() == answer, f"{role} may {verb}: {answer}")


def expressions() -> list[str]:
    alerts = yaml.safe_load((CHART / "alerts.yaml").read_text())
    found = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    for path in (CHART / "dashboards").glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            found += [target["expr"] for target in panel.get("targets", [])]
    return found


def answered(cluster: LocalCluster, query: str) -> list[dict[str, Any]]:
    """Give the series that Prometheus answers `query` with."""
    url = f"{cluster.prometheus_url}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=10) as answer:
        document = json.load(answer)
    assert document["status"] == "success", query
    found: list[dict[str, Any]] = document["data"]["result"]
    return found


def test_prometheus_understands_every_alert_and_panel(chart_cluster: LocalCluster) -> None:
    for expression in expressions():
        plain = re.sub(r"\$(namespace|deployment)", ".*", expression)
        answered(chart_cluster, plain.replace("$__rate_interval", "1m"))


def with_series(expression: str, series: dict[str, dict[str, float | str]]) -> str:
    """Put values by name into the place of metrics, as PromQL has no word for a series."""

    def literal(metric: re.Match[str]) -> str:
        one = 'label_replace(label_replace(vector({}),"name","{}","",""),"namespace","a","","")'
        values = [one.format(value, name) for name, value in series[metric[0]].items()]
        return f"({' or '.join(values) or 'vector(0) < 0'})"

    told = re.sub(r"trimtab_[a-z_]+(?:\{[^}]*\})?", literal, expression)
    return re.sub(r"\)\[(\w+)\]", r")[\1:15s]", told)


def fires_for(
    cluster: LocalCluster, alert: str, series: dict[str, dict[str, float | str]]
) -> set[str]:
    """Give the deployments that an alert fires for; one of the operator has no name."""
    rules = yaml.safe_load((CHART / "alerts.yaml").read_text())["groups"]
    [rule] = [rule for group in rules for rule in group["rules"] if rule["alert"] == alert]
    found = answered(cluster, with_series(rule["expr"], series))
    return {each["metric"].get("name", "") for each in found}


@pytest.mark.parametrize(
    ("alert", "of"), [("TrimtabReplicasMissing", "waits"), ("TrimtabNothingMeasured", "blind")]
)
def test_an_alert_is_about_what_shall_serve_and_does_not(
    chart_cluster: LocalCluster, alert: str, of: str
) -> None:
    # `trial` only recommends, as the quickstart has one begin: it has no replica and wants none.
    series: dict[str, dict[str, float | str]] = {
        "trimtab_desired_replicas": {"well": 2, "waits": 2, "blind": 1, "trial": 3},
        "trimtab_ready_replicas": {"well": 2, "waits": 1, "blind": 1, "trial": 0},
        "trimtab_recommended": {"well": 0, "waits": 0, "blind": 0, "trial": 1},
        'trimtab_signals{state="fresh"}': {"well": 9, "waits": 1},
    }
    assert fires_for(chart_cluster, alert, series) == {of}


@pytest.mark.parametrize(
    ("ok", "leads", "fires"),
    [
        ({}, 1, True),
        ({"one": 7}, 1, True),
        ({"one": "time()"}, 1, False),
        ({}, 0, False),
    ],
    ids=["no cycle ever went well", "none does any more", "they go well", "nobody leads"],
)
def test_a_leader_that_plans_nothing_is_told(
    chart_cluster: LocalCluster, ok: dict[str, float | str], leads: int, fires: bool
) -> None:
    series: dict[str, dict[str, float | str]] = {
        'trimtab_cycles_total{outcome="ok"}': ok,
        "trimtab_leader": {"one": leads, "other": 0},
    }
    assert bool(fires_for(chart_cluster, "TrimtabPlanningStopped", series)) == fires
