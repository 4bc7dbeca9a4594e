"""The public faces say the truth: what `__all__` names exists, is all there is, and is documented."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

FACES = ("dstui", "dstui.sdk", "dstui_store")
"""The modules that people import from."""


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


def test_every_name_in_all_exists_once(face: ModuleType) -> None:
    assert len(set(face.__all__)) == len(face.__all__)
    assert [name for name in face.__all__ if not hasattr(face, name)] == []


def test_every_public_name_of_ours_is_in_all(face: ModuleType) -> None:
    ours = {
        name
        for name, value in vars(face).items()
        if not name.startswith("_") and str(getattr(value, "__module__", "")).startswith("dstui")
    }
    assert ours <= set(face.__all__)


def test_every_public_function_and_class_has_a_docstring(face: ModuleType) -> None:
    values = {name: getattr(face, name) for name in face.__all__}
    undocumented = [
        name
        for name, value in values.items()
        if (inspect.isclass(value) or inspect.isroutine(value)) and not (value.__doc__ or "").strip()
    ]
    assert undocumented == []


def test_every_public_method_has_a_docstring(face: ModuleType) -> None:
    undocumented = [
        f"{name}.{method_name}"
        for name in face.__all__
        if inspect.isclass(owner := getattr(face, name))
        and owner.__module__.partition(".")[0] in {"dstui", "dstui_store"}
        for method_name, method in vars(owner).items()
        if not method_name.startswith("_")
        and (inspect.isroutine(method) or isinstance(method, (property, classmethod, staticmethod)))
        and not (inspect.getdoc(getattr(owner, method_name)) or "").strip()
    ]
    assert undocumented == []


def test_every_name_taken_from_a_late_loading_package_exists() -> None:
    # mypy cannot tell: a module with `__getattr__` has every name for it.
    missing = [
        f"{path.relative_to(ROOT)}: {node.module}.{alias.name}"
        for path in (ROOT / "dstui").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module in {"dstui_store", "dstui.sdk"}
        for alias in node.names
        if not hasattr(importlib.import_module(node.module), alias.name)
        and importlib.util.find_spec(f"{node.module}.{alias.name}") is None
    ]
    assert missing == []
