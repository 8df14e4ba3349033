"""Every message that the code can give, read from the code: ``…`` stands for what differs from case to case."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path

import click

from clip_udfs.errors import ClipUdfError
from tests.documents import REPOSITORY

PAGE = REPOSITORY / "docs" / "messages.md"
SOURCES = (REPOSITORY / "udfs" / "clip_udfs", REPOSITORY / "installer" / "clip_installer")
BLANK = "…"
# Functions whose arguments are messages, and the place of the message among them.
_SPEAKERS = {"problem": 1, "note": 1, "_fail": 1, "refuse": 0, "error": 0}


@dataclass(frozen=True)
class Message:
    """A message and where it is made."""

    text: str
    place: str


def messages() -> list[Message]:
    """All messages of the product, in the order of its files."""
    return [message for folder in SOURCES for path in sorted(folder.rglob("*.py")) for message in _of_file(path)]


def _of_file(path: Path) -> Iterator[Message]:
    module = ast.parse(path.read_text(encoding="utf-8"))
    yield from (Message(text, f"{path.relative_to(REPOSITORY)}") for text in texts_of(module))


def texts_of(module: ast.Module) -> Iterator[str]:
    """The messages of one module of code, from the places where they are made."""
    speakers = _SPEAKERS | dict.fromkeys(_error_names(), 0)
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in speakers and len(node.args) > speakers[name]:
            for text in _texts(node.args[speakers[name]], module):
                if text.strip(f"{BLANK} :;,()"):
                    yield text


def _error_names() -> set[str]:
    import clip_installer.errors
    import clip_udfs.pipe.pipeline

    assert clip_installer.errors and clip_udfs.pipe.pipeline  # they make the tree complete
    kinds = {kind.__name__ for kind in _tree(ClipUdfError)} | {click.UsageError.__name__}
    return kinds - {"MissingExtra"}  # which makes its text of the names that it is given


def _tree(kind: type) -> Iterator[type]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)


def _texts(node: ast.expr, module: ast.Module) -> list[str]:
    """What an expression can give as a text; a choice gives several."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        parts = [_texts(part, module) for part in node.values]
        return ["".join(chosen) for chosen in product(*parts)]
    if isinstance(node, ast.FormattedValue):
        return _named(node.value, module) or [BLANK]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [one + two for one in _texts(node.left, module) for two in _texts(node.right, module)]
    if isinstance(node, ast.IfExp):
        return _texts(node.body, module) + _texts(node.orelse, module)
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in _texts(value, module)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _returned(node.func.id, module) or [BLANK]
    return _named(node, module) or [BLANK]


def _named(node: ast.expr, module: ast.Module) -> list[str]:
    """The text of a constant of the module, or of one that it imports from another of ours."""
    if isinstance(node, ast.Name):
        for statement in module.body:
            if isinstance(statement, ast.ImportFrom) and any(one.name == node.id for one in statement.names):
                value = getattr(import_module(statement.module or ""), node.id, None)
                return [value] if isinstance(value, str) else []
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
                names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
                if node.id in names and isinstance(statement.value.value, str):
                    return [statement.value.value]
    return []


def _returned(name: str, module: ast.Module) -> list[str]:
    """What a function of the module, or one that it imports from ours, returns, where that is text."""
    texts = []
    for statement in module.body:
        if isinstance(statement, ast.ImportFrom) and any(one.name == name for one in statement.names):
            path = import_module(statement.module or "").__file__ or ""
            ours = any(Path(path).is_relative_to(folder) for folder in SOURCES)
            return _returned(name, ast.parse(Path(path).read_text(encoding="utf-8"))) if ours else []
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef) and function.name == name:
            for node in ast.walk(function):
                if not isinstance(node, ast.Return):
                    continue
                if isinstance(node.value, ast.Constant | ast.JoinedStr | ast.IfExp):
                    texts += _texts(node.value, module)
                elif isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
                    texts += _returned(node.value.func.id, module) if node.value.func.id != name else []
    return texts
