"""10,000 hostile names before the parser of a real Prometheus: its tree is that of a plain name."""

from typing import Any

import requests

from hostile import HARMLESS, hostile_names
from trimtab.observe.promql import one_of, series, string
from trimtab_e2e.cluster import LocalCluster

NAMES = 10_000
AT_ONCE = 50
"""Names in one query."""


def expr(name: str) -> str:
    selector = series("vllm:num_requests_waiting", [name], [("model_name", name)])
    return f'label_replace({selector}, "asked_for", {string(name)}, "", "")'


def parsed(session: requests.Session, url: str, query: str) -> dict[str, Any]:
    answer = session.post(f"{url}/api/v1/parse_query", data={"query": query}, timeout=30).json()
    assert answer["status"] == "success", answer
    found: dict[str, Any] = answer["data"]
    return found


def values(tree: Any) -> list[str]:
    """Every string of a tree that a name could have got into, in order, and removed from it."""
    found = []
    if isinstance(tree, list):
        for each in tree:
            found += values(each)
    elif isinstance(tree, dict):
        if tree.get("type") == "stringLiteral":
            found.append(tree.pop("val"))
        for each in tree.get("matchers", []):
            found.append(each.pop("value"))
        for each in tree.values():
            found += values(each)
    return found


def test_ten_thousand_names(cluster: LocalCluster) -> None:
    url = str(cluster.prometheus_url)
    with requests.Session() as session:
        plain = parsed(session, url, " or ".join([expr(HARMLESS)] * AT_ONCE))
        values(plain)
        names = list(hostile_names(NAMES, seed=23))
        for start in range(0, NAMES, AT_ONCE):
            some = names[start : start + AT_ONCE]
            tree = parsed(session, url, " or ".join(map(expr, some)))
            found = values(tree)
            assert tree == plain, some
            assert len(found) == 7 * AT_ONCE
            for name in some:
                utf8 = name.encode("utf-8", "replace").decode("utf-8")
                assert found.count(utf8) >= 1, name


def test_a_name_that_breaks_out_is_seen_in_the_tree(cluster: LocalCluster) -> None:
    """The test above can fail: what quotes alone would have made of the first of those names."""
    with requests.Session() as session:
        url = str(cluster.prometheus_url)
        plain = parsed(session, url, 'up{model_name="a"}')
        broken = parsed(session, url, 'up{model_name="' + '"} or vector(1e9) #' + '"}')
        values(plain)
        values(broken)
        assert broken != plain
    assert one_of(["a"]) == '"a"'
