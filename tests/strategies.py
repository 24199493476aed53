"""Hypothesis strategies for manifests, made from the API models themselves.

`manifests(kind)` obey all bounds and rules. `blind_manifests(kind)` obey the bounds and know
nothing of the rules. `mutated_manifests(kind)` start from an obeying one and break something.
"""

import copy
import typing
from collections.abc import Callable
from typing import Annotated, Any

from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from trimtab.api.base import API_VERSION, ApiModel, Resource
from trimtab.api.model import ModelArchitecture
from trimtab.api.openapi import Schema, structural
from trimtab.units import DURATION_PATTERN

Manifest = dict[str, Any]
Path = tuple[str | int, ...]

_FEW_FIELDS = 6
"""Objects with at most so many optional fields often have all of them."""

_NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
_LABEL_KEYS = st.from_regex(
    r"([a-z0-9]([-a-z0-9]{0,9}[a-z0-9])?(\.[a-z0-9]{1,9}){0,2}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,9}[A-Za-z0-9])?",
    fullmatch=True,
)
_DURATION_PARTS = st.one_of(
    st.tuples(st.sampled_from([0, 1, 5, 20, 300, 59999, 99999]), st.just("ms")),
    st.tuples(st.sampled_from([0, 1, 2, 30, 3600, 99999]), st.just("s")),
    st.tuples(st.sampled_from([0, 1, 15, 60, 1440]), st.just("m")),
    st.tuples(st.sampled_from([0, 1, 24, 720, 99999]), st.just("h")),
    st.tuples(st.sampled_from(["0.001", "1.5", "99999.999"]), st.sampled_from(["ms", "s", "h"])),
).map(lambda part: f"{part[0]}{part[1]}")
_DURATIONS = st.one_of(
    st.sampled_from(["0s", "1s", "1000ms", "999ms1ms", "2s", "1m", "60s", "1h"]),
    _DURATION_PARTS,
    st.lists(_DURATION_PARTS, min_size=2, max_size=4).map("".join),
    st.from_regex(DURATION_PATTERN, fullmatch=True),
)
_JUNK = st.one_of(
    st.sampled_from([None, True, False, 0, -1, 1, 5.0, 5.5, 2**31, 2**63, -(2**63), 10**20, 1e300]),
    st.sampled_from(
        ["", " ", "0", "-1", "1e3", "NaN", "1.5", "0s", "1d", "-5m", "5m\n", "100000h", "٣s", "x"]
    ),
    st.sampled_from(["a" * 64, "a" * 5000, "A", "a b", "\x00", "auto", "Equal", "--port=1"]),
    st.just([]),
    st.just({}),
    st.just([None]),
)


def manifests(kind: type[Resource]) -> st.SearchStrategy[Manifest]:
    """Objects of `kind` that the models accept."""
    return _objects(kind, _NAMES, obey=True)


def blind_manifests(kind: type[Resource]) -> st.SearchStrategy[Manifest]:
    """Objects of `kind` whose fields are within their bounds, and whose rules may be broken."""
    names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?(\.[a-z0-9]{1,12})?", fullmatch=True)
    return _objects(kind, names, obey=False)


@st.composite
def mutated_manifests(draw: st.DrawFn, kind: type[Resource]) -> Manifest:
    """Objects of `kind` that obey, except in one to three places."""
    manifest = copy.deepcopy(draw(manifests(kind)))
    for _ in range(draw(st.integers(1, 3))):
        paths = list(_paths(manifest["spec"], ("spec",)))
        path = draw(st.sampled_from(paths))
        _mutate(draw, manifest, path)
        if "spec" not in manifest:
            break
    return manifest


def _objects(
    kind: type[Resource], names: st.SearchStrategy[str], *, obey: bool
) -> st.SearchStrategy[Manifest]:
    spec = _nested(kind.model_fields["spec"].annotation)
    assert spec is not None
    metadata = {"name": names}
    if kind.NAMESPACED:
        metadata["namespace"] = st.just("default")
    return st.fixed_dictionaries(
        {
            "apiVersion": st.just(API_VERSION),
            "kind": st.just(kind.KIND),
            "metadata": st.fixed_dictionaries(metadata),
            "spec": _documents(spec, obey=obey),
        }
    )


def _documents(model: type[ApiModel], *, obey: bool) -> st.SearchStrategy[Manifest]:
    schema = structural(model.model_json_schema())
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for name, info in model.model_fields.items():
        alias = info.alias or name
        strategy = _field(schema["properties"][alias], info, obey=obey)
        (required if info.is_required() else optional)[alias] = strategy
    documents: st.SearchStrategy[Manifest] = st.fixed_dictionaries(required, optional=optional)
    if len(optional) <= _FEW_FIELDS:
        documents |= st.fixed_dictionaries(required | optional)
    if not obey:
        return _sometimes_equal(documents, schema["properties"])
    if model is ModelArchitecture:
        documents = documents.map(_consistent_geometry)
    return documents.filter(_accepts(model.model_validate))


@st.composite
def _sometimes_equal(
    draw: st.DrawFn, documents: st.SearchStrategy[Manifest], fields: dict[str, Schema]
) -> Manifest:
    """Give two fields of one kind the same value now and then: rules change their mind there."""
    document = draw(documents)
    for kind in ({"type": "integer"}, {"pattern": DURATION_PATTERN}):
        alike = [name for name in document if kind.items() <= fields[name].items()]
        if len(alike) > 1 and draw(st.booleans()):
            first, second = draw(st.permutations(alike))[:2]
            document = {**document, second: document[first]}
    return document


def _field(schema: Schema, info: FieldInfo, *, obey: bool) -> st.SearchStrategy[Any]:
    strategy = _values(schema, _nested(info.annotation), obey=obey)
    if not obey:
        return strategy
    typed: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(typed)
    return strategy.filter(_accepts(adapter.validate_python))


def _values(schema: Schema, model: type[ApiModel] | None, *, obey: bool) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "array":
        return st.lists(
            _values(schema["items"], model, obey=obey),
            min_size=schema.get("minItems", 0),
            max_size=min(schema["maxItems"], 3),
        )
    if "additionalProperties" in schema:
        return st.dictionaries(
            _LABEL_KEYS,
            _values(schema["additionalProperties"], None, obey=obey),
            min_size=schema.get("minProperties", 0),
            max_size=min(schema["maxProperties"], 3),
        )
    if model is not None:
        return _documents(model, obey=obey)
    if schema["type"] == "integer":
        low, high = schema["minimum"], schema["maximum"]
        # Few values, so that two fields are often equal: rules break at equality.
        common = [value for value in (low, 1, 2, 8, 256, high) if low <= value <= high]
        return st.one_of(st.sampled_from(common), st.sampled_from(common), st.integers(low, high))
    if schema["type"] == "boolean":
        return st.booleans()
    return _strings(schema)


def _strings(schema: Schema) -> st.SearchStrategy[str]:
    low, high = schema.get("minLength", 0), schema["maxLength"]
    pattern: str | None = schema.get("pattern")
    if pattern is None:
        return st.text(min_size=low, max_size=min(high, 40))
    strings: st.SearchStrategy[str] = (
        _DURATIONS if pattern == DURATION_PATTERN else st.from_regex(pattern, fullmatch=True)
    )
    return strings.filter(lambda text: low <= len(text) <= high)


def _consistent_geometry(document: Manifest) -> Manifest:
    """Make the numbers fit together more often than chance does; what stays wrong is filtered."""
    result = dict(document)
    if "experts" not in result:
        for name in ("activeExperts", "expertIntermediateSize", "sharedExperts", "denseLayers"):
            result.pop(name, None)
    else:
        result["activeExperts"] = min(result.get("activeExperts", 1), result["experts"])
    if "kvLoraRank" not in result:
        result.pop("queryLoraRank", None)
        result.pop("ropeHeadDim", None)
    if "slidingWindow" not in result:
        result.pop("windowedLayers", None)
    if "linearLayers" not in result or not {"stateHeadDim", "stateSize"} <= result.keys():
        result.pop("stateHeads", None)
    if "stateHeads" not in result:
        for name in ("stateHeadDim", "stateSize", "stateGroups"):
            result.pop(name, None)
    for name in ("denseLayers", "windowedLayers", "linearLayers"):
        if name in result:
            result[name] = min(result[name], result["layers"])
    if {"windowedLayers", "linearLayers"} <= result.keys():
        result["windowedLayers"] = min(
            result["windowedLayers"], result["layers"] - result["linearLayers"]
        )
    if "keyValueHeads" in result:
        result["attentionHeads"] = result["keyValueHeads"] * (
            1 + result["attentionHeads"] % max(1, 1024 // result["keyValueHeads"])
        )
    if "headDim" not in result:
        result["hiddenSize"] = max(64 * result["attentionHeads"], result["attentionHeads"])
    return result


def _accepts(validate: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def accepts(document: Any) -> bool:
        try:
            validate(document)
        except ValidationError:
            return False
        return True

    return accepts


def _nested(annotation: Any) -> type[ApiModel] | None:
    """Return the model inside an annotation such as `Annotated[list[EnvVar], ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        return annotation
    found = (_nested(argument) for argument in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)


def _paths(value: Any, path: Path) -> list[Path]:
    result = [path]
    if isinstance(value, dict):
        for key, child in value.items():
            result += _paths(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            result += _paths(child, (*path, index))
    return result


def _mutate(draw: st.DrawFn, manifest: Manifest, path: Path) -> None:
    parent: Any = manifest
    for step in path[:-1]:
        parent = parent[step]
    last = path[-1]
    value = parent[last]
    choice = draw(st.sampled_from(["junk", "remove", "nudge", "twice"]))
    if choice == "remove":
        del parent[last]
    elif choice == "nudge" and type(value) is int:
        parent[last] = value + draw(st.sampled_from([-1, 1, -value, -2 * value, value]))
    elif choice == "nudge" and isinstance(value, str):
        parent[last] = draw(st.sampled_from([value * 2, value + "0", value[:-1], value.upper()]))
    elif choice == "twice" and isinstance(value, list) and value:
        parent[last] = [*value, value[0]]
    else:
        parent[last] = copy.deepcopy(draw(_JUNK))
