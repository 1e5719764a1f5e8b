"""Faults that operators put into a source text, each in one place: for asking whether any test notices.

An operator knows nothing of the code. It scales an expression by 0.9, moves a
whole number or a comparison by one, drops a term or an argument, leaves a
statement or a guard out, takes one side of a choice, or puts what a seed
decides in the place of the operating system's generator.
"""

import ast
import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

Change = tuple[str, ast.AST]
"""`(operator, node to put in place)`."""

_SCALED = (ast.Mult, ast.Div, ast.Add, ast.Sub, ast.Pow)
_STRICT = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
_STREAMS = ("seeded_source", "generator", "integer_seed")
_SILENT = ("info", "warning", "error", "debug")


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        file: of the repository.
        line: in the file as it is now.
        where: the function or class that it is in.
        operator: that made it.
        before, after: the expression or statement, as Python writes it.
        number: of those that are alike in all of this but the line.
    """

    file: str
    line: int
    where: str
    operator: str
    before: str
    after: str
    number: int

    @property
    def key(self) -> str:
        """The same as long as the function, the operator and the text are, wherever the lines move."""
        text = "\0".join((self.file, self.where, self.operator, self.before, self.after, str(self.number)))
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def mutants(source: str, file: str) -> list[tuple[Mutant, Callable[[], ast.Module]]]:
    """Every fault that the operators can put into a source text, with what makes the tree that has it."""
    found: list[tuple[Mutant, Callable[[], ast.Module]]] = []
    seen: dict[tuple[str, str, str, str], int] = {}
    for path, node, where in _places(ast.parse(source)):
        for operator, new in _changes(node):
            before, after = ast.unparse(node), ast.unparse(ast.fix_missing_locations(copy.deepcopy(new)))
            if before == after:
                continue
            same = where, operator, before, after
            seen[same] = seen.get(same, -1) + 1
            tree = partial(_with, source, path, new)
            line = getattr(node, "lineno", 0)
            found.append((Mutant(file, line, where, operator, before, after, seen[same]), tree))
    return found


Path = tuple[tuple[str, int | None], ...]


def _places(tree: ast.Module) -> Iterator[tuple[Path, ast.AST, str]]:
    """Every node that is run and decides something, with the way to it and the name of its function."""

    def walk(node: ast.AST, path: Path, where: str) -> Iterator[tuple[Path, ast.AST, str]]:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases", "type_params"):
                continue
            several = isinstance(value, list)
            for place, child in enumerate(value if several else [value]):
                if not isinstance(child, ast.AST) or _says_nothing(child):
                    continue
                way = (*path, (name, place if several else None))
                inside = where
                if isinstance(child, ast.FunctionDef | ast.ClassDef):
                    inside = f"{where}.{child.name}".lstrip(".")
                yield way, child, inside
                yield from walk(child, way, inside)

    yield from walk(tree, (), "")


def _says_nothing(node: ast.AST) -> bool:
    """Documentation, errors' texts, logs, names that are shown, and imports."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        return isinstance(called, ast.Attribute) and called.attr in _SILENT
    if isinstance(node, ast.keyword):
        return node.arg == "name"
    return isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["name"]


def _changes(node: ast.AST) -> Iterator[Change]:
    for kind, change in _OPERATORS:
        if isinstance(node, kind):
            yield from change(node)


def _arithmetic(node: ast.BinOp) -> Iterator[Change]:
    if not isinstance(node.op, _SCALED) or _is_text(node):
        return
    yield "scale", ast.BinOp(node, ast.Mult(), ast.Constant(0.9))
    yield "drop a term", node.left
    if isinstance(node.op, ast.Add | ast.Mult):
        yield "drop a term", node.right


def _constant(node: ast.Constant) -> Iterator[Change]:
    if isinstance(node.value, bool):
        return
    if isinstance(node.value, int):
        yield "off by one", ast.Constant(node.value + 1)
    elif isinstance(node.value, float):
        yield "scale", ast.Constant(node.value * 0.9)


def _comparison(node: ast.Compare) -> Iterator[Change]:
    for place, op in enumerate(node.ops):
        if type(op) in _STRICT:
            new = copy.deepcopy(node)
            new.ops[place] = _STRICT[type(op)]()
            yield "off by one", new


def _both(node: ast.BoolOp) -> Iterator[Change]:
    for left_out in range(len(node.values)):
        kept = [value for place, value in enumerate(node.values) if place != left_out]
        yield "drop a term", kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)


def _choice(node: ast.IfExp) -> Iterator[Change]:
    yield "one side", node.body
    yield "one side", node.orelse


def _branch(node: ast.If) -> Iterator[Change]:
    for test in (True, False):
        yield "skip", ast.If(ast.Constant(test), node.body, node.orelse)


def _call(node: ast.Call) -> Iterator[Change]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in _STREAMS:
        for keyword in node.keywords:
            kept = [other for other in node.keywords if other is not keyword]
            yield "reuse of a stream", ast.Call(node.func, node.args, kept)
    if name in ("ceil", "floor", "rint", "clip", "clipped", "max", "min", "abs", "maximum", "minimum"):
        for argument in node.args[:2]:
            yield "drop a call", argument
    if name in ("sqrt", "exp", "log", "hypot", "sum", "fsum", "sigma", "draw", "ceil", "epsilon", "steps"):
        yield "scale", ast.BinOp(node, ast.Mult(), ast.Constant(0.9))
    if name == "secret_seed":
        yield "seed for system", ast.Constant(0)


def _generator(node: ast.AST) -> Iterator[Change]:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    if name == "system_source" and isinstance(getattr(node, "ctx", None), ast.Load):
        stream = "__import__('hedgerow.rng', fromlist=['rng']).seeded_source(0, 'mutant')"
        yield "seed for system", ast.parse(stream, mode="eval").body
    if name in ("batch", "noise") and ast.unparse(node).startswith("chance."):
        yield (
            "reuse of a stream",
            ast.Attribute(node.value, {"batch": "noise", "noise": "batch"}[name], node.ctx),
        )  # type: ignore[attr-defined]


def _statement(node: ast.stmt) -> Iterator[Change]:
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if called or isinstance(node, ast.AugAssign):
        yield "skip", ast.Pass()
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        again = isinstance(target, ast.Name) and any(
            isinstance(used, ast.Name) and used.id == target.id for used in ast.walk(node.value)
        )
        if again or isinstance(target, ast.Subscript):
            yield "skip", ast.Pass()
    if isinstance(node, ast.While | ast.For):
        yield "skip", ast.Pass()


def _is_text(node: ast.AST) -> bool:
    return any(
        isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in (getattr(node, "left", None), getattr(node, "right", None))
    )


_OPERATORS: tuple[tuple[type, Callable[..., Iterator[Change]]], ...] = (
    (ast.BinOp, _arithmetic),
    (ast.Constant, _constant),
    (ast.Compare, _comparison),
    (ast.BoolOp, _both),
    (ast.IfExp, _choice),
    (ast.If, _branch),
    (ast.Call, _call),
    (ast.Name, _generator),
    (ast.Attribute, _generator),
    (ast.stmt, _statement),
)


def _with(source: str, path: Path, new: ast.AST) -> ast.Module:
    """The tree with a node replaced."""
    tree = ast.parse(source)
    parent: ast.AST = tree
    for name, place in path[:-1]:
        value = getattr(parent, name)
        parent = value if place is None else value[place]
    name, place = path[-1]
    old = getattr(parent, name) if place is None else getattr(parent, name)[place]
    put = ast.copy_location(copy.deepcopy(new), old)
    if place is None:
        setattr(parent, name, put)
    else:
        getattr(parent, name)[place] = put
    return ast.fix_missing_locations(tree)
