"""The bugs that are tried: small changes of a module's syntax tree, each of a named kind.

No list of places that do not count is kept. What a kind leaves out, it leaves out by a rule that
says why the change would be none.
"""

import ast
import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

Change: TypeAlias = Callable[[ast.expr], Iterator[ast.expr]]
"""Yields what may stand in the place of a node; nothing where the kind has nothing to change."""

_FLIPPED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_TURNED = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}
_TRUSTED = ("fresh_value", "at_least")
"""Functions that give a signal's value only where it may be acted on."""
_DOUBTS = {"Invalid", "Missing", "Stale", "Partial"}
_MOMENTS = ("_at", "_since")
_PENDING = {"supply": "ready", "stable": "replicas", "held": "ready", "lost": "stuck"}


def _flip(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _FLIPPED:
        node.ops[0] = _FLIPPED[type(node.ops[0])]()
        yield node


def _turn(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _TURNED:
        node.ops[0] = _TURNED[type(node.ops[0])]()
        yield node


def _drop_clamp(node: ast.expr) -> Iterator[ast.expr]:
    """What is held within limits is not; of two figures, either is taken for the outer one."""
    if not _is_call(node, ("min", "max")) or len(node.args) < 2 or node.keywords:
        return
    held = [argument for argument in node.args if not _is_limit(argument)]
    yield from held or node.args


def _is_limit(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id.isupper())


def _trust_any(node: ast.expr) -> Iterator[ast.expr]:
    """Stale, partial and negative-aged values are acted on; so is what lacks one kind of doubt."""
    if _is_call(node, _TRUSTED):
        yield ast.Call(
            func=ast.Name(id="getattr", ctx=ast.Load()),
            args=[node.args[0], ast.Constant(value="value"), ast.Constant(value=None)],
            keywords=[],
        )
    if isinstance(node, ast.Attribute) and node.attr == "fresh" and isinstance(node.ctx, ast.Load):
        yield ast.Constant(value=True)
    if isinstance(node, ast.Tuple) and _is_table_of_doubts(node):
        for left_out in node.elts:
            others = [element for element in node.elts if element is not left_out]
            yield ast.Tuple(elts=others, ctx=ast.Load())


def _is_table_of_doubts(node: ast.Tuple) -> bool:
    heads = [e.elts[0] for e in node.elts if isinstance(e, ast.Tuple) and e.elts]
    named = [head.id for head in heads if isinstance(head, ast.Name)]
    return len(named) == len(node.elts) > 0 and set(named) <= _DOUBTS


def _forget_pending(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in _PENDING:
        node.attr = _PENDING[node.attr]
        yield node


def _off_by_one(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Constant) and type(node.value) is int and 0 <= node.value <= 10:
        yield ast.Constant(value=node.value + 1)


def _and_or(node: ast.expr) -> Iterator[ast.expr]:
    # `a or 0` names what stands in for a missing figure; that is another kind's place.
    if isinstance(node, ast.BoolOp) and not _is_zero(node.values[-1]):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield node


def _is_call(node: ast.expr, names: tuple[str, ...]) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def _is_zero(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value == 0


KINDS: dict[str, Change] = {
    "comparison flipped": _flip,
    "comparison turned": _turn,
    "clamp dropped": _drop_clamp,
    "stale accepted": _trust_any,
    "pending forgotten": _forget_pending,
    "off by one": _off_by_one,
    "and for or": _and_or,
}
MISSING = "missing is zero"
"""The kind of which every bug must be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One bug in one module."""

    module: str
    kind: str
    line: int
    lines: range
    """Where the statements with the bug begin; none where it is no function's."""
    source: Callable[[], str]
    """Returns the module with the bug."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The names of fields that hold a number or None."""

    always: frozenset[str]
    """So in every class that has such a field."""
    sometimes: frozenset[str]
    """So in some: only where a function checks for None it is one of those."""


def mutants(module: str, source: str, figures: Figures) -> Iterator[Mutant]:
    """Yield every bug of every kind in `source`, outside docstrings and annotations.

    `figures` are what `optional_figures` found.
    """
    tree = ast.parse(source)
    vouched = _vouched(tree)
    digits = _digits(tree)
    statements = _statements(tree)
    for kind, change in KINDS.items():
        for index, node in enumerate(_places(tree)):
            if change is _trust_any and id(node) in vouched:
                continue
            if change is _off_by_one and id(node) in digits:
                continue
            for which in range(len(list(change(copy.deepcopy(node))))):

                def with_bug(
                    index: int = index, which: int = which, change: Change = change
                ) -> str:
                    changed = copy.deepcopy(tree)
                    target = _places(changed)[index]
                    found = list(change(copy.deepcopy(target)))[which]
                    return _with(changed, {id(target): found}, target)

                yield Mutant(
                    module=module,
                    kind=kind,
                    line=_line(node),
                    lines=_span(statements.get(id(node), [])),
                    source=with_bug,
                )
    for place, function in enumerate(_functions(tree)):
        for text, first in _missing(function, figures).items():

            def reads_zero(place: int = place, text: str = text, first: ast.expr = first) -> str:
                changed = copy.deepcopy(tree)
                return _with(changed, _zeros(_functions(changed)[place], text), first)

            yield Mutant(
                module=module,
                kind=MISSING,
                line=_line(first),
                lines=_span(function.body),
                source=reads_zero,
            )


def optional_figures(sources: Iterable[str]) -> Figures:
    """Return the fields of all classes in `sources` that are annotated as a number or None.

    Not moments (`at`, `..._since`): they are no figures, and their zero is 1970.
    """
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                optional = ast.unparse(node.annotation) in ("float | None", "int | None")
                found[optional].add(node.target.id)
    names = frozenset(name for name in found[True] if not f"_{name}".endswith(_MOMENTS))
    return Figures(always=names - found[False], sometimes=names & found[False])


def _missing(function: ast.FunctionDef, figures: Figures) -> dict[str, ast.expr]:
    """Return each figure or signal of `function` that may be missing, and where it is first."""
    found: dict[str, ast.expr] = {}
    for node in _within(function):
        if _may_be_missing(node, function, figures):
            found.setdefault(ast.unparse(node), node)
    return {text: node for text, node in found.items() if _zeros(function, text)}


def _zeros(function: ast.FunctionDef, text: str) -> dict[int, ast.expr]:
    """Return what makes `text` read as zero when it is missing, by the places that it replaces.

    All of its places in the function change together: behind a check for None a single one is
    never None.
    """
    alike = _alike(function, text)
    return {
        id(node): ast.BoolOp(op=ast.Or(), values=[node, ast.Constant(value=0.0)])
        for node in _within(function)
        if ast.unparse(node) == text and id(node) not in alike
        if isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
    }


def _may_be_missing(node: ast.expr, function: ast.FunctionDef, figures: Figures) -> bool:
    if _is_call(node, _TRUSTED):
        return True
    if not (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)):
        return False
    if node.attr in figures.always:
        return True
    return node.attr in figures.sometimes and any(
        isinstance(other, ast.Compare) and isinstance(other.ops[0], ast.Is | ast.IsNot)
        for other in _said_of(function, ast.unparse(node))
    )


def _alike(function: ast.FunctionDef, text: str) -> set[int]:
    """Return the places of `text` where None and zero do the same, as the code itself shows.

    - It says that what is missing counts as zero: `x or 0`, `0 if x is None else x`.
    - It does not tell them apart: `x in (0, None)`, a bare `if x`, `if not x: return`.
    - Both fail: `x is not None and x > limit`, for limits are not negative; or both are turned
      away: `x is None or x < 1`.
    - It only writes them down.
    """
    if isinstance(function.returns, ast.Name) and function.returns.id == "str":
        return _ids(*ast.walk(function))
    found: set[int] = set()
    names = _names_of(function, text)
    for node in ast.walk(function):
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
            found |= _ids(*node.values[:-1])
            if _is_zero(node.values[-1]) and ast.unparse(node.values[0]) in names:
                return _ids(*ast.walk(function))
        elif isinstance(node, ast.IfExp) and isinstance(node.test, ast.Compare):
            if _is_zero(node.body if isinstance(node.test.ops[0], ast.Is) else node.orelse):
                found |= _ids(*ast.walk(node))
        elif isinstance(node, ast.If) and _turns_away(node, {text, *names}):
            return _ids(*ast.walk(function))
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In):
            found |= _ids(node.left)
        elif isinstance(node, ast.comprehension):
            tests = [t for i in node.ifs for t in (i.values if isinstance(i, ast.BoolOp) else [i])]
            if any(ast.unparse(test) == text for test in tests):
                return _ids(*ast.walk(function))
        elif isinstance(node, ast.JoinedStr):
            found |= _ids(*ast.walk(node))
    said = _said_of(function, text)
    if said and all(id(one) in _guards(function, {text, *names}) for one in said):
        return _ids(*ast.walk(function))
    return found


def _turns_away(node: ast.If, texts: set[str]) -> bool:
    """Whether a function ends here when one of `texts` is None, and as well when it is zero."""
    test = node.test
    parts = [test]
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
        parts = test.values
    return isinstance(node.body[-1], ast.Return) and any(
        isinstance(part, ast.UnaryOp)
        and isinstance(part.op, ast.Not)
        and ast.unparse(part.operand) in texts
        for part in parts
    )


def _guards(function: ast.FunctionDef, texts: set[str]) -> set[int]:
    """Return the parts of each `x is not None and x > limit`, for `x` among `texts`.

    And of each `x is None or x < limit` with a positive limit.
    """
    found: set[int] = set()
    for node in ast.walk(function):
        if not isinstance(node, ast.BoolOp):
            continue
        parts = [part for part in node.values if isinstance(part, ast.Compare)]
        mine = [part for part in parts if ast.unparse(part.left) in texts]
        if isinstance(node.op, ast.And):
            decided = [part for part in parts if _is_over(part, texts)]
            checked = any(isinstance(part.ops[0], ast.IsNot) for part in parts)
        else:
            decided = [part for part in mine if _is_under(part)]
            checked = any(isinstance(part.ops[0], ast.Is) for part in mine)
        if decided and checked:
            found |= _ids(*decided, *mine)
    return found


def _is_under(node: ast.Compare) -> bool:
    limit = node.comparators[0]
    if not (isinstance(node.ops[0], ast.Lt) and isinstance(limit, ast.Constant)):
        return False
    return isinstance(limit.value, int | float) and limit.value > 0


def _is_over(node: ast.Compare, texts: set[str]) -> bool:
    if isinstance(node.ops[0], ast.Gt | ast.GtE):
        return ast.unparse(node.left) in texts
    return isinstance(node.ops[0], ast.Lt | ast.LtE) and ast.unparse(node.comparators[0]) in texts


def _said_of(function: ast.FunctionDef, text: str) -> list[ast.Compare]:
    """Return every comparison of `text`, or of a name that is given its value."""
    texts = {text, *_names_of(function, text)}
    return [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Compare)
        if any(ast.unparse(side) in texts for side in (node.left, *node.comparators))
    ]


def _names_of(function: ast.FunctionDef, text: str) -> set[str]:
    """Return the names that are given the value of `text`, by an assignment or a loop."""
    found = set()
    for node in ast.walk(function):
        pairs: list[tuple[ast.expr, ast.expr]] = []
        if isinstance(node, ast.Assign):
            pairs = [(node.targets[0], node.value)]
        elif isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple):
            pairs = [(node.target, row) for row in node.iter.elts]
        for target, value in pairs:
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                each = list(zip(target.elts, value.elts, strict=False))
            else:
                each = [(target, value)]
            found |= {ast.unparse(name) for name, given in each if _gives(given, text)}
    return found


def _gives(value: ast.expr, text: str) -> bool:
    """Whether `value` is what `text` says, if need be on a condition."""
    branches = (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,)
    return any(ast.unparse(branch) == text for branch in branches)


def _ids(*nodes: ast.AST) -> set[int]:
    return {id(node) for node in nodes}


def _statements(tree: ast.Module) -> dict[int, list[ast.stmt]]:
    """Return the innermost statement of each expression within a function."""
    found: dict[int, list[ast.stmt]] = {}
    for function in _functions(tree):
        for statement in ast.walk(function):
            if isinstance(statement, ast.stmt) and statement is not function:
                # Outer ones come first, so that inner ones have the last word.
                found |= {id(n): [statement] for n in ast.walk(statement)}
    return found


def _span(statements: list[ast.stmt]) -> range:
    if not statements:
        return range(0)
    return range(statements[0].lineno, (statements[-1].end_lineno or 0) + 1)


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)


def _with(tree: ast.Module, new: dict[int, ast.expr], where: ast.AST) -> str:
    for node in new.values():
        ast.copy_location(node, where)
    return ast.unparse(ast.fix_missing_locations(_Replaced(new).visit(tree)))


def _vouched(tree: ast.Module) -> set[int]:
    """Return what stands in an `and` that asks for all signals to be fresh: each of them is."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            parts = [ast.unparse(part) for part in node.values]
            if any(part.endswith("is Reason.METRICS_FRESH") for part in parts):
                found |= _ids(*ast.walk(node))
    return found


def _digits(tree: ast.Module) -> set[int]:
    """Return what says how many digits are kept of a figure, which is no count of anything."""
    return _ids(
        *(
            node.args[1]
            for node in ast.walk(tree)
            if isinstance(node, ast.expr) and _is_call(node, ("round",)) and len(node.args) > 1
        )
    )


def _functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def _within(function: ast.FunctionDef) -> list[ast.expr]:
    return [n for s in function.body for n in ast.walk(s) if isinstance(n, ast.expr)]


def _places(tree: ast.Module) -> list[ast.expr]:
    """Return the expressions of functions and of the module's own tables, each once, in order."""
    found: dict[int, ast.expr] = {}
    for function in _functions(tree):
        found |= {id(node): node for node in _within(function)}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Tuple):
            found[id(statement.value)] = statement.value
    return list(found.values())


class _Replaced(ast.NodeTransformer):
    def __init__(self, new: dict[int, ast.expr]) -> None:
        self._new = new

    def visit(self, node: ast.AST) -> ast.AST:
        if id(node) in self._new:
            return self._new[id(node)]
        return self.generic_visit(node)
