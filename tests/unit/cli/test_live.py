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
    """An API server with one deployment and one pool; `forbidden` names plurals that it refuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.forbidden: set[str] = set()
        self.asked: list[str] = []

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return status and document for one GET."""
        self.asked.append(path)
        plural = next((p for p in self.forbidden if path.endswith(f"/{p}")), None)
        if plural is not None:
            return 403, {"kind": "Status", "message": f"you may not list {plural}", "code": 403}
        if path == f"{BASE}/namespaces/assistants/llmdeployments/chat":
            return 200, CHAT | {"apiVersion": "trimtab.dev/v1alpha1", "kind": "LLMDeployment"}
        found = {
            f"{BASE}/llmdeployments": [CHAT],
            f"{BASE}/namespaces/assistants/llmdeployments": [CHAT],
            f"{BASE}/acceleratorpools": [POOL],
        }
        if path.rpartition("/")[2] in ("chat", "nobody"):
            return 404, {"kind": "Status", "message": "not found", "code": 404}
        return 200, {
            "kind": "List", "metadata": {"resourceVersion": "7"}, "items": found.get(path, []),
        }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        code, document = self.server.answer(self.path.partition("?")[0])
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
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
