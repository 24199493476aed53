"""A whole system of its own for every module: cluster, operator rights, fake GPU nodes."""

from collections.abc import Iterator

import pytest

from trimtab_e2e.nodes import make_nodes
from trimtab_e2e.selection import select_cluster
from trimtab_e2e.stack import Stack


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The system without a running operator; nodes of four kinds, whose pods start in 2 s."""
    name = request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "-")
    with Stack(select_cluster(f"e2e-{name}")) as stack:
        for shape, count in (
            ("a10g-eks", 4),
            ("l40s-karpenter", 4),
            ("h100-gke", 2),
            ("h200-karpenter", 1),
        ):
            stack.cluster.add_nodes(make_nodes(shape, count, start_delay_s=2))
        yield stack


@pytest.fixture(autouse=True)
def operator_stopped(request: pytest.FixtureRequest) -> Iterator[None]:
    """No operator and no traffic outlive their test."""
    yield
    if "stack" in request.fixturenames:
        stack: Stack = request.getfixturevalue("stack")
        stack.stop_operator()
        stack.fleet.stop()
