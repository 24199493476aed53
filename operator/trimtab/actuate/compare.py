"""Whether a live object already says all that we want it to say, so that nothing is rewritten."""

from collections.abc import Iterator, Mapping
from typing import Any

from trimtab.actuate.kinds import Document
from trimtab.errors import InvalidInput
from trimtab.units import parse_quantity

_MERGE_KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # Lists that server-side apply merges by key (x-kubernetes-list-map-keys in the OpenAPI
    # schema of Kubernetes 1.34), each with its possible keys. Other lists are replaced whole.
    "ownerReferences": (("uid",),),
    "containers": (("name",),),
    "env": (("name",),),
    "volumes": (("name",),),
    "volumeMounts": (("mountPath",),),
    "imagePullSecrets": (("name",),),
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
}
_QUANTITY_FIELDS = {"limits", "requests", "emptyDir"}
"""Fields whose strings are quantities: `1000m` and `1` are one value there."""


def first_difference(desired: Document, live: Document) -> str | None:
    """Return the path of the first field of `desired` that `live` lacks or says otherwise.

    Fields that only `live` has are not ours: the server's defaults, or another writer's.
    """
    return next(_differences(desired, live, ()), None)


def _differences(desired: object, live: object, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        for key, value in desired.items():
            if key in live:
                yield from _differences(value, live[key], (*path, key))
            else:
                yield ".".join((*path, key))
    elif isinstance(desired, list) and isinstance(live, list):
        yield from _list_differences(desired, live, path)
    elif desired != live and not _same_quantity(desired, live, path):
        yield ".".join(path)


def _list_differences(desired: list[Any], live: list[Any], path: tuple[str, ...]) -> Iterator[str]:
    keys = _merge_keys(path[-1], desired)
    if keys is None:
        if len(desired) != len(live):
            yield ".".join(path)
            return
        pairs = list(zip(desired, live, strict=True))
    else:
        by_key = {_key(item, keys): item for item in live}
        pairs = [(item, by_key.get(_key(item, keys))) for item in desired]
    for index, (wanted, found) in enumerate(pairs):
        yield from _differences(wanted, found, (*path, str(index)))


def _merge_keys(field: str, items: list[Any]) -> tuple[str, ...] | None:
    for keys in _MERGE_KEYS.get(field, ()):
        if all(keys[0] in item for item in items):
            return keys
    return None


def _key(item: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(key) for key in keys)


def _same_quantity(desired: object, live: object, path: tuple[str, ...]) -> bool:
    if _QUANTITY_FIELDS.isdisjoint(path):
        return False
    try:
        return parse_quantity(str(desired)) == parse_quantity(str(live))
    except InvalidInput:
        return False
