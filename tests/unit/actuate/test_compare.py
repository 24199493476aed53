"""The subset comparison: our fields only, quantities by value, keyed lists by key."""

from typing import Any

import pytest

from trimtab.actuate.compare import first_difference


@pytest.mark.parametrize(
    ("desired", "live"),
    [
        ({"a": 1}, {"a": 1, "default": "of the server"}),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2], "c": 3}}),
        ({"limits": {"cpu": "1000m"}}, {"limits": {"cpu": "1"}}),
        ({"requests": {"memory": "16384Mi"}}, {"requests": {"memory": "16Gi"}}),
        ({"emptyDir": {"sizeLimit": "1024Mi"}}, {"emptyDir": {"sizeLimit": "1Gi"}}),
        (
            {"containers": [{"name": "main", "image": "x"}]},
            {"containers": [{"name": "sidecar"}, {"name": "main", "image": "x", "tty": True}]},
        ),
        (
            {"ports": [{"port": 8000, "protocol": "TCP"}]},
            {"ports": [{"port": 8000, "protocol": "TCP", "nodePort": 30000}]},
        ),
        ({"ownerReferences": [{"uid": "u"}]}, {"ownerReferences": [{"uid": "v"}, {"uid": "u"}]}),
        ({"tolerations": [{"key": "k"}]}, {"tolerations": [{"key": "k", "effect": "NoSchedule"}]}),
    ],
)
def test_what_only_the_live_object_says_is_no_difference(
    desired: dict[str, Any], live: dict[str, Any]
) -> None:
    assert first_difference(desired, live) is None


@pytest.mark.parametrize(
    ("desired", "live", "path"),
    [
        ({"spec": {"replicas": 3}}, {"spec": {"replicas": 2}}, "spec.replicas"),
        ({"spec": {"replicas": 0}}, {"spec": {}}, "spec.replicas"),
        ({"args": ["a", "b"]}, {"args": ["b", "a"]}, "args.0"),
        ({"args": ["a"]}, {"args": ["a", "b"]}, "args"),
        ({"limits": {"cpu": "2"}}, {"limits": {"cpu": "1"}}, "limits.cpu"),
        ({"labels": {"x": "1000m"}}, {"labels": {"x": "1"}}, "labels.x"),
        (
            {"containers": [{"name": "main", "image": "x"}]},
            {"containers": [{"name": "main", "image": "y"}]},
            "containers.0.image",
        ),
        ({"containers": [{"name": "main"}]}, {"containers": [{"name": "other"}]}, "containers.0"),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": []}, "env.0"),
        ({"tolerations": [{"key": "k"}]}, {"tolerations": []}, "tolerations"),
        ({"a": {"b": 1}}, {"a": None}, "a"),
        ({"limits": {"cpu": "2"}}, {"limits": {"cpu": "many"}}, "limits.cpu"),
    ],
)
def test_what_differs_is_named_by_its_path(
    desired: dict[str, Any], live: dict[str, Any], path: str
) -> None:
    assert first_difference(desired, live) == path
