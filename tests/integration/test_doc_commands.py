"""Each page's commands on a real cluster, in the order of the page, as a reader types them.

Real are kubectl, Helm, the API server, the scheduler, Prometheus and the operator's process; it
stands in for the pods that the chart asks for, which no kubelet runs here. Commands that need no
cluster are run by tests/unit/docs/test_commands.py.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from doccommands import Command, commands
from trimtab_e2e import binaries
from trimtab_e2e.cluster import LocalCluster, Options, select_cluster
from trimtab_e2e.nodes import make_nodes
from trimtab_e2e.stack import REPOSITORY, Stack
from trimtab_e2e.waiting import eventually

ELSEWHERE = {
    "helm test": "it waits for a pod: e2e/tests/test_node.py runs it on real nodes",
    "exec NAME": "no kubelet runs the operator's pod here",
    "deploy/argocd/application.yaml": "Argo CD's kinds are not here; test_gitops.py runs its Lua",
    "deploy/flux/trimtab.yaml": "Flux' kinds are not here, and the page says so",
    "profile.yaml": "the reader's own file; tests/unit/docs/test_commands.py makes one",
}
"""What is not run here, and why."""
INSTALLED = ("docs/operations.md", "docs/migration.md")
"""Pages about an installation that is there."""
SHOWN = ("docs/cli.md",)
"""Pages that ask about what the demo shows."""
ENDLESS = "trimtab top"
WATCHED_S = 6
"""How long it is looked at before Ctrl-C."""
INSTALL = (
    "helm install trimtab charts/trimtab --namespace trimtab-system --create-namespace"
    " --set image.repository=registry.example/trimtab"
)


def is_live(command: Command) -> bool:
    """Whether a cluster is needed; a line with a pipe needs one if its first program does."""
    words = command.words
    if words[0] in ("kubectl", "helm"):
        return True
    offline = {"-f", "--file", "--record", "--help"} & set(words)
    return words[0] == "trimtab" and len(words) > 1 and words[1] in (
        "explain", "status", "top", "doctor",
    ) and not offline  # fmt: skip


def stories() -> dict[str, list[str]]:
    """Return the lines of each page that has any to be run here; `make demo` and `docker` too."""
    found: dict[str, list[str]] = {}
    for command in commands():
        if command.shown and (is_live(command) or command.words[0] in ("make", "docker")):
            lines = found.setdefault(command.page, [])
            if not lines or lines[-1] != command.line:
                lines.append(command.line)
    return {page: lines for page, lines in found.items() if any(map(is_run, lines))}


def is_run(line: str) -> bool:
    """Whether a line is run here."""
    bare = line.partition(" #")[0].strip()
    foreign = bare.startswith(("make", "docker")) or "…" in bare
    return not foreign and not any(part in bare for part in ELSEWHERE)


class Desk:
    """A reader's terminal, in a checkout, with a cluster."""

    def __init__(self, cluster: LocalCluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.stack = Stack(cluster)
        self._operates = False
        programs = folder / "bin"
        programs.mkdir()
        (programs / "kubectl").symlink_to(cluster.kubectl_path)
        (programs / "helm").symlink_to(binaries.helm(3))
        for name in ("trimtab", "kubectl-trimtab"):
            (programs / name).symlink_to(Path(sys.executable).parent / name)
        for name in ("examples", "charts", "deploy"):
            (folder / name).symlink_to(REPOSITORY / name)
        self._environment = os.environ | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "KUBECONFIG": str(cluster.kubeconfig),
            "COLUMNS": "120",
        }

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run `line` with what a reader fills in filled in."""
        node = self.cluster.get("nodes")["items"][0]["metadata"]["name"]
        told = line.replace("http://localhost:9090", self.cluster.prometheus_url)
        told = told.replace(" NAME ", f" {node} ")
        if line == ENDLESS:
            told = f"timeout --preserve-status --signal INT {WATCHED_S} {line}"
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", told], cwd=self.folder, env=self._environment,
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

    def works(self, line: str) -> None:
        """Run `line` until it works; what it asks about may be a moment away."""
        last = ""

        def done() -> bool:
            nonlocal last
            result = self.types(line)
            last = f"$ {line}\n{result.stdout}{result.stderr}"
            return result.returncode == 0

        try:
            eventually(done, line, timeout_s=90 if "trimtab" in line.split("|")[0].split() else 5)
        except AssertionError as error:
            raise AssertionError(last) from error
        installs = ("helm install", "helm upgrade --install", "helm template")
        if line.startswith(installs) and not self._operates:
            self.cluster.kubectl("wait", "--for=condition=Established", "crd", "--all")
            self._operates = True
            self.stack.start_operator(wait=False)

    def demo(self) -> None:
        """Bring up what `make demo` shows: the operator, and three models."""
        self.works(INSTALL)
        for namespace in ("assistants", "coding"):
            self.cluster.kubectl("create", "namespace", namespace)
        self.cluster.apply(REPOSITORY / "examples/demo/deployments.yaml")

    def leave(self) -> None:
        """Stop the operator, if one was started."""
        if self._operates:
            self.stack.stop_operator()


@contextmanager
def new_desk(folder: Path) -> Iterator[Desk]:
    """Give a reader a cluster of his own: nothing of another page is there to lean on."""
    folder.mkdir()
    with select_cluster("docs", Options()) as cluster:
        for path in binaries.monitoring_definitions():
            cluster.kubectl("apply", "--server-side", "-f", str(path))
        for kind in ("l4-gke", "h100-gke"):
            cluster.add_nodes(make_nodes(kind, 2, start_delay_s=1))
        cluster.kubectl("create", "namespace", "argocd")
        cluster.kubectl("create", "configmap", "argocd-cm", "-n", "argocd")
        desk = Desk(cluster, folder)
        try:
            yield desk
        finally:
            desk.leave()


STORIES = stories()


def test_what_is_left_out_is_on_a_page() -> None:
    lines = [line for story in STORIES.values() for line in story]
    lines += [command.line for command in commands()]
    for part in (*ELSEWHERE, ENDLESS):
        assert any(part in line for line in lines), f"{part} stands on no page any more"


def clusters_of(lines: list[str]) -> list[list[str]]:
    """Split a page where the demo's cluster is left for the reader's own, with an image of his."""
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("docker build"):
            parts.append([])
        parts[-1].append(line)
    return parts


@pytest.mark.parametrize("page", STORIES)
def test_a_reader_can_type_what_a_page_shows(page: str, tmp_path: Path) -> None:
    for at, lines in enumerate(clusters_of(STORIES[page])):
        if not any(is_run(line) or line.startswith("make demo") for line in lines):
            continue
        with new_desk(tmp_path / str(at)) as desk:
            if page in INSTALLED:
                desk.works(INSTALL)
            elif page in SHOWN:
                desk.demo()
            for line in lines:
                if line.startswith("make demo"):
                    desk.demo()
                elif is_run(line):
                    desk.works(line)
