"""10,000 hostile names: whatever a tenant calls things, a query keeps the structure it has.

The tokens are those of Prometheus' own lexer (promql/parser/lex.go). A name that keeps all tokens
in place and stands in one string literal of its own cannot have changed what is asked.
"""

import random
import re
from collections.abc import Iterator

import pytest

from hostile import HARMLESS, hostile_names
from trimtab.api.engine import EngineType
from trimtab.config import OperatorConfig
from trimtab.observe import engines, queries
from trimtab.observe.promql import labelled, one_of, series, string

CONFIG = OperatorConfig()
VLLM = [engines.get(EngineType.VLLM)]
NAMES = 10_000

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<comment>\#[^\r\n]*)
  | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
  | (?P<duration>\d+(?:ms|[smhdwy]))
  | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
  | (?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^(){}\[\],=<>@:])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|[\\\"])")


def tokens(query: str) -> Iterator[tuple[str, str]]:
    """Every token of a query but space, in order: its kind and its text.

    Raises:
        AssertionError: The lexer would stop here.
    """
    at = 0
    while at < len(query):
        match = _TOKEN.match(query, at)
        assert match, f"no token at {query[at : at + 40]!r}"
        at = match.end()
        if match.lastgroup and match.lastgroup != "space":
            yield match.lastgroup, match.group()


def meant(literal: str) -> str:
    """The string that a literal in double quotes stands for."""
    bare = literal[1:-1]
    assert not re.sub(r"\\(x[0-9a-f]{2}|[\\\"])", "", bare).count("\\"), literal
    return _ESCAPE.sub(lambda m: chr(int(m[1][1:], 16)) if m[1][0] == "x" else m[1], bare)


def structure(query: str) -> list[tuple[str, str]]:
    """The tokens of a query, with every string literal the same."""
    return [(kind, "" if kind == "string" else text) for kind, text in tokens(query)]


def strings(query: str) -> list[str]:
    return [meant(text) for kind, text in tokens(query) if kind == "string"]


def utf8(name: str) -> str:
    return name.encode("utf-8", "replace").decode("utf-8")


def test_the_tokens_tell_a_query_that_was_broken_out_of() -> None:
    """What the client's own `label_config` does: quotes around whatever comes."""
    broken = 'up{model_name="' + '"} or vector(1e9) #' + '"}'
    assert structure(broken) != structure(f'up{{model_name="{HARMLESS}"}}')


def test_ten_thousand_names_in_a_selector_and_in_a_label() -> None:
    def expr(name: str) -> str:
        selector = series("vllm:num_requests_waiting", [name], [("model_name", name)])
        return labelled(selector, {"asked_for": name})

    wanted = structure(expr(HARMLESS))
    pairs = zip(strings(expr("one")), strings(expr("other")), strict=True)
    places = [at for at, (one, other) in enumerate(pairs) if one != other]
    assert len(places) == 3
    for name in hostile_names(NAMES, seed=7):
        query = expr(name)
        assert structure(query) == wanted, name
        found = [strings(query)[at] for at in places]
        assert found[0] == utf8(name)
        assert re.fullmatch(found[1], utf8(name)), name
        assert found[2] == utf8(name).replace("$", "$$")  # else it would name a group


@pytest.mark.parametrize("several", [False, True], ids=["alone", "beside-others"])
def test_a_thousand_namespaces_in_every_query_of_a_pass(several: bool) -> None:
    """Kubernetes refuses such a namespace; nothing here relies on that."""
    dice = random.Random(11)
    others = ["team-a", "team-b"] if several else []
    plain = queries.build(VLLM, CONFIG, [*others, HARMLESS])
    wanted = {name: structure(expr) for name, expr in plain.items()}
    for name in hostile_names(NAMES // 10, seed=13 + several):
        found = queries.build(VLLM, CONFIG, [*others, name])
        literal = f"namespace=~{one_of(sorted([*others, name]))}"
        assert structure(literal)[2:] == [("string", "")]
        assert found.keys() == plain.keys()
        # Where only one literal differs, so does nothing else.
        harmless = f"namespace=~{one_of(sorted([*others, HARMLESS]))}"
        for key, expr in found.items():
            if literal in expr:
                assert expr.replace(literal, "X") == plain[key].replace(harmless, "X")
            else:  # it was too long, and all namespaces are asked for
                assert harmless not in expr
                assert "namespace=~" not in expr
        key = dice.choice(list(found))
        if literal in found[key]:
            assert structure(found[key]) == wanted[key]


def test_a_name_of_ten_thousand_signs_is_one_literal() -> None:
    name = '"} or vector(1e9) #' * 600
    assert structure(string(name)) == [("string", "")]
    assert strings(string(name)) == [name]
