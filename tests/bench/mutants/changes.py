"""The bugs that are tried: small changes of a module's syntax tree, each of a named kind."""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

Change: TypeAlias = Callable[[ast.expr], ast.expr | None]
"""Returns the node with a bug, or None where the kind has nothing to change."""

_FLIPPED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_TURNED = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}
_SIGNALS = ("fresh_value", "at_least")


def _flip(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _FLIPPED:
        node.ops[0] = _FLIPPED[type(node.ops[0])]()
        return node
    return None


def _turn(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _TURNED:
        node.ops[0] = _TURNED[type(node.ops[0])]()
        return node
    return None


def _drop_clamp(node: ast.expr) -> ast.expr | None:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return None
    if node.func.id in ("min", "max") and len(node.args) > 1 and not node.keywords:
        return node.args[-1]
    return None


def _missing_is_zero(node: ast.expr) -> ast.expr | None:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return None
    if node.func.id in _SIGNALS:
        return ast.BoolOp(op=ast.Or(), values=[node, ast.Constant(value=0.0)])
    return None


def _any_signal_is_fresh(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Attribute) and node.attr == "fresh" and isinstance(node.ctx, ast.Load):
        return ast.Constant(value=True)
    return None


def _forget_pending(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        swapped = {"supply": "ready", "stable": "replicas", "held": "ready", "lost": "stuck"}
        if node.attr in swapped:
            node.attr = swapped[node.attr]
            return node
    return None


def _off_by_one(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Constant) and type(node.value) is int and 0 <= node.value <= 10:
        return ast.Constant(value=node.value + 1)
    return None


def _and_or(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return node
    return None


KINDS: dict[str, Change] = {
    "comparison flipped": _flip,
    "comparison turned": _turn,
    "clamp dropped": _drop_clamp,
    "missing is zero": _missing_is_zero,
    "stale accepted": _any_signal_is_fresh,
    "pending forgotten": _forget_pending,
    "off by one": _off_by_one,
    "and for or": _and_or,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One bug in one module."""

    module: str
    kind: str
    line: int
    source: str
    """The module with the bug."""


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """Yield every bug of every kind in `source`, outside docstrings and annotations."""
    tree = ast.parse(source)
    for kind, change in KINDS.items():
        for index, node in enumerate(_places(tree)):
            changed = copy.deepcopy(tree)
            target = _places(changed)[index]
            found = change(copy.deepcopy(target))
            if found is None:
                continue
            line = getattr(node, "lineno", 0)
            ast.copy_location(found, target)
            whole = _Replaced(target, found).visit(changed)
            text = ast.unparse(ast.fix_missing_locations(whole))
            yield Mutant(module=module, kind=kind, line=line, source=text)


def _places(tree: ast.AST) -> list[ast.expr]:
    """Return the expressions inside functions, each once, in order."""
    found: dict[int, ast.expr] = {}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for statement in function.body:
                found |= {id(n): n for n in ast.walk(statement) if isinstance(n, ast.expr)}
    return list(found.values())


class _Replaced(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self._old:
            return self._new
        return self.generic_visit(node)
