"""One real cluster for all integration tests, and a namespace for each of them.

No cluster is a failure, not a skip: `select_cluster` raises ClusterUnavailable with a remedy.
"""

import re
import secrets
from collections.abc import Iterator

import pytest

from trimtab_e2e.cluster import LocalCluster, select_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    with select_cluster("integration") as cluster:
        yield cluster


@pytest.fixture
def namespace(cluster: LocalCluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, named after it; removed in the background."""
    readable = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    name = f"{readable}-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    # The end of a namespace waits for its pods' grace before it takes what made them: deployments
    # in it would be planned for for a minute or two more, beside those of the tests that follow.
    crd = "llmdeployments.trimtab.dev"
    if cluster.kubectl("get", "crd", crd, "--ignore-not-found", "-o", "name").stdout.strip():
        cluster.kubectl("delete", crd, "--all", "-n", name, "--wait=false")
    cluster.kubectl("delete", "namespace", name, "--wait=false")
