"""`explain`, `status` and `top` against an API server that answers, and one that forbids."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from trimtab.api.crd import KINDS
from trimtab.cli.main import app

BASE = "/apis/trimtab.dev/v1alpha1"
CHAT: dict[str, Any] = {
    "metadata": {"name": "chat", "namespace": "assistants"},
    "spec": {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "latency": {"interTokenLatency": "50ms"},
        "placement": {"tensorParallel": [1]},
    },
    "status": {
        "observedGeneration": 1,
        "variants": [
            {
                "name": "chat-h100-tp1", "pool": "h100", "accelerator": "h100",
                "tensorParallel": 1, "desired": 1, "ready": 1, "costPerHour": "3.00",
            }
        ],
        "observed": {
            "requestsPerSecond": "2", "inputTokens": 512, "outputTokens": 128,
            "source": "Prometheus", "interTokenLatency": "11ms",
        },
        "cost": {"perHour": "3.00"},
        "decision": {
            "time": "2026-11-25T10:00:00Z", "reason": "Steady", "message": "1 x h100/tp1",
        },
    },
}  # fmt: skip
POOL: dict[str, Any] = {
    "metadata": {"name": "h100"},
    "spec": {
        "accelerator": "nvidia-h100-sxm", "resourceName": "nvidia.com/gpu", "devicesPerNode": 8,
        "nodeSelector": {"pool": "h100"}, "price": {"perDeviceHour": "3"},
    },
    "status": {"observedGeneration": 1, "nodes": 1, "devices": 8},
}  # fmt: skip


class Server(ThreadingHTTPServer):
    """An API server with one deployment and one pool.

    `forbidden` names plurals that it refuses, `broken` what it answers to everything.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.forbidden: set[str] = set()
        self.broken: tuple[int, bytes] | None = None
        self.asked: list[str] = []

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return status and document for one GET."""
        self.asked.append(path)
        plural = next((p for p in self.forbidden if path.endswith(f"/{p}")), None)
        if plural is not None:
            return 403, {"kind": "Status", "message": f"jane cannot list {plural}", "code": 403}
        if path == BASE:
            return 200, {"resources": [{"name": kind.PLURAL} for kind in KINDS]}
        if path == f"{BASE}/namespaces/assistants/llmdeployments/chat":
            return 200, CHAT | {"apiVersion": "trimtab.dev/v1alpha1", "kind": "LLMDeployment"}
        found = {
            f"{BASE}/llmdeployments": [CHAT],
            f"{BASE}/namespaces/assistants/llmdeployments": [CHAT],
            f"{BASE}/acceleratorpools": [POOL],
        }
        if path.rpartition("/")[2] in ("chat", "chta", "nobody"):
            return 404, {"kind": "Status", "message": "not found", "code": 404}
        return 200, {
            "kind": "List", "metadata": {"resourceVersion": "7"}, "items": found.get(path, []),
        }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        code, document = self.server.answer(self.path.partition("?")[0])
        body = json.dumps(document).encode()
        if self.server.broken is not None:
            code, body = self.server.broken
        self.send_response(code)
        form = "application/json" if body.startswith((b"{", b"[")) else "text/plain"
        self.send_header("Content-Type", form)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture
def kubeconfig(server: Server, tmp_path: Path) -> str:
    path = tmp_path / "kubeconfig"
    cluster = {"server": f"http://127.0.0.1:{server.server_address[1]}"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "here",
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "180"})
    return result.exit_code, result.stdout, result.stderr


def test_a_live_deployment_is_explained_with_the_pools_there_are(kubeconfig: str) -> None:
    code, out, _ = run(
        "explain", "chat", "-n", "assistants", "--kubeconfig", kubeconfig, "-o", "json"
    )
    assert code == 0
    answer = json.loads(out)
    assert answer["decision"] == CHAT["status"]["decision"]
    assert {change["lever"] for change in answer["whatIf"]} >= {"Demand"}


def test_who_may_not_see_the_pools_still_gets_the_decision(server: Server, kubeconfig: str) -> None:
    server.forbidden = {"acceleratorpools"}
    code, out, _ = run("explain", "chat", "-n", "assistants", "--kubeconfig", kubeconfig)
    assert code == 0
    assert "1 x h100/tp1" in out
    assert "was not asked" in out
    assert "acceleratorpools" in out


def test_without_what_if_only_the_deployment_is_read(server: Server, kubeconfig: str) -> None:
    arguments = ("explain", "chat", "-n", "assistants", "--no-what-if", "--kubeconfig", kubeconfig)
    assert run(*arguments)[0] == 0
    assert server.asked == [f"{BASE}/namespaces/assistants/llmdeployments/chat"]


def test_a_deployment_that_is_not_there_is_named(kubeconfig: str) -> None:
    code, _, err = run("explain", "nobody", "-n", "assistants", "--kubeconfig", kubeconfig)
    assert code == 1
    assert "no LLMDeployment nobody in namespace assistants" in err
    assert "kubectl get llmd -A" in err


def test_where_a_deployment_of_that_name_is_or_how_it_is_spelt_is_said(
    server: Server, kubeconfig: str
) -> None:
    words = ("explain", "--kubeconfig", kubeconfig, "-n")
    assert "There is one in assistants: add -n assistants" in run(*words, "coding", "chat")[2]
    assert "Did you mean chat?" in run(*words, "assistants", "chta")[2]
    server.forbidden = {"llmdeployments"}
    assert "kubectl get llmd -n coding" in run(*words, "coding", "chat")[2]


def test_the_namespace_is_that_of_the_context_as_for_kubectl(kubeconfig: str) -> None:
    assert "in namespace default" in run("explain", "chat", "--kubeconfig", kubeconfig)[2]
    config = yaml.safe_load(Path(kubeconfig).read_text())
    config["contexts"][0]["context"]["namespace"] = "assistants"
    Path(kubeconfig).write_text(yaml.safe_dump(config))
    code, out, _ = run("explain", "chat", "--kubeconfig", kubeconfig, "-o", "json")
    assert code == 0
    assert json.loads(out)["whatIf"]


@pytest.mark.parametrize(
    ("broken", "says", "remedy"),
    [
        ((404, b"404 page not found"), "does not know acceleratorpools", "kubectl apply -f crds/"),
        ((401, b'{"kind": "Status"}'), "does not know who you are", "Log in"),
        ((403, b'{"message": "jane cannot"}'), "you may not", "the built-in role view"),
        ((500, b"{}"), "the API server at", "kubectl config current-context"),
        ((200, b"<html>Log in</html>"), "no", ""),
    ],
)
@pytest.mark.parametrize("command", [("status",), ("explain", "chat"), ("top", "--once")])
def test_what_keeps_a_person_out_is_said_with_what_to_do(
    server: Server,
    kubeconfig: str,
    command: tuple[str, ...],
    broken: tuple[int, bytes],
    says: str,
    remedy: str,
) -> None:
    server.broken = broken
    code, out, err = run(*command, "--kubeconfig", kubeconfig)
    assert (code, out) == (1, "")
    assert says in err
    assert remedy in err


@pytest.mark.parametrize("broken", [(404, b""), (403, b"{}"), (200, b"[]"), (200, b"<html>")])
def test_the_doctor_says_that_it_cannot_look(
    server: Server, kubeconfig: str, broken: tuple[int, bytes]
) -> None:
    server.broken = broken
    code, out, _ = run("doctor", "--kubeconfig", kubeconfig)
    assert code == 1
    assert "FAILED" in out
    assert "-> " in out


@pytest.mark.parametrize("command", [("status",), ("explain", "chat"), ("doctor",)], ids=" ".join)
@pytest.mark.parametrize(
    "text", ["- a list\n", "only words\n", "a: [b\n", "current-context: x\n"], ids=str.strip
)
def test_a_kubeconfig_that_is_none_is_refused_with_a_remedy(
    command: tuple[str, ...], text: str, tmp_path: Path
) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    code, out, err = run(*command, "--kubeconfig", str(path))
    assert code == 1
    assert "--kubeconfig" in out + err
    assert "Set KUBECONFIG" in out + err


def test_who_may_not_read_everywhere_may_read_where_he_may(server: Server, kubeconfig: str) -> None:
    server.forbidden = {"llmdeployments"}
    _, _, err = run("status", "--kubeconfig", kubeconfig)
    assert "you may not list LLMDeployments in all namespaces: " in err
    assert "with -n" in err


@pytest.mark.parametrize("command", [("status",), ("top", "--once")])
def test_the_fleet_is_read_from_the_cluster(kubeconfig: str, command: tuple[str, ...]) -> None:
    code, out, _ = run(*command, "--kubeconfig", kubeconfig)
    assert code == 0
    (row,) = [line for line in out.splitlines() if " chat " in line]
    assert "3.00" in row
    assert "ITL p95 11ms/50ms" in row


def test_one_namespace_is_asked_for_alone(server: Server, kubeconfig: str) -> None:
    assert run("status", "-n", "assistants", "--kubeconfig", kubeconfig)[0] == 0
    assert server.asked == [
        f"{BASE}/namespaces/assistants/{plural}" for plural in ("llmdeployments", "servingpolicies")
    ]
