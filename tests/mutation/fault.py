"""A fault is put into a function that is loaded, wherever it was imported to; or else into its module."""

import ast
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def changed(file: str, tree: ast.Module) -> str | None:
    """The outermost function whose code a fault changes; `""` for what runs at import; `None` if none does.

    >>> changed("hedgerow/checks.py", ast.parse((ROOT / "hedgerow/checks.py").read_text())) is None
    True
    """
    sound, faulty = (_functions(source) for source in ((ROOT / file).read_text(), tree))
    different = [name for name in sound if name and not _same(sound[name], faulty[name])]
    if different:
        return different[0]
    return None if _same(sound[""], faulty[""]) else ""


def put_in(file: str, function: str, tree: ast.Module) -> None:
    """Give a function that is loaded the code that it has in the tree; what was computed is forgotten."""
    found: Any = sys.modules[_module(file)]
    for name in function.split("."):
        found = vars(found)[name]
    while not isinstance(found, FunctionType):
        found = next(
            getattr(found, inner)
            for inner in ("__func__", "fget", "func", "__wrapped__")
            if hasattr(found, inner)
        )
    while hasattr(found, "__wrapped__"):
        found = found.__wrapped__
    found.__code__ = _functions(tree)[function]
    forget()


def forget() -> None:
    """Clear what functions of the package keep of earlier calls."""
    for name, module in list(sys.modules.items()):
        if name.startswith("hedgerow."):
            for kept in list(vars(module).values()):
                if isinstance(kept, functools._lru_cache_wrapper):
                    kept.cache_clear()


def _module(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


@functools.lru_cache(maxsize=256)
def _functions(source: Any) -> dict[str, CodeType]:
    """The code of each outermost function, by its name; of the module, as `""`."""
    module = compile(source, "mutant", "exec")
    found = {"": module}

    def walk(code: CodeType, inside: str) -> None:
        for constant in code.co_consts:
            if isinstance(constant, CodeType) and not constant.co_name.startswith("<"):
                name = f"{inside}.{constant.co_name}".lstrip(".")
                if constant.co_flags & 2:  # a function has its own locals; a class's body is looked into
                    found[name] = constant
                else:
                    found[f"{name}."] = constant
                    walk(constant, name)

    walk(module, "")
    return {name: code for name, code in found.items() if not name.endswith(".")}


def _same(one: Any, other: Any) -> bool:
    """Whether two pieces of code do the same, step by step; where they stand in the file does not matter."""
    if not isinstance(one, CodeType) or not isinstance(other, CodeType):
        return type(one) is type(other) and repr(one) == repr(other)
    return (
        (one.co_code, one.co_names, one.co_varnames, one.co_freevars, one.co_exceptiontable)
        == (other.co_code, other.co_names, other.co_varnames, other.co_freevars, other.co_exceptiontable)
        and len(one.co_consts) == len(other.co_consts)
        and all(map(_same, one.co_consts, other.co_consts))
    )


def telling(file: str) -> ast.Module:
    """The tree of a file whose outermost functions call `reached(file:function)` first."""
    tree = ast.parse((ROOT / file).read_text())

    def walk(body: list[ast.stmt], inside: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{inside}{node.name}.")
            elif isinstance(node, ast.FunctionDef):
                told = ast.Expr(ast.parse(f"reached({f'{file}:{inside}{node.name}'!r})", mode="eval").body)
                place = 1 if ast.get_docstring(node) is not None else 0
                node.body.insert(place, ast.copy_location(told, node))

    walk(tree.body, "")
    return ast.fix_missing_locations(tree)


class Faulty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a tree, and leaves all others alone."""

    def __init__(self, file: str, tree: ast.Module) -> None:
        self._name, self._file, self._tree = _module(file), str(ROOT / file), tree

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._file, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, self._file, "exec"), module.__dict__)
