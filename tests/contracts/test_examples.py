"""The examples know nothing of dstui, run as they are, and are tracked as they are."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import DsCommand

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL_RUNS = {
    "mnist.py": (["--epochs", "1"], "val_acc"),
    "digits.py": (["--epochs", "3"], "val_acc"),
    "charlm.py": (["--steps", "50", "--hidden", "32"], "loss"),
}
"""Arguments that make each example quick, and a metric that it prints."""


def test_every_example_has_a_small_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SMALL_RUNS)


@pytest.mark.parametrize("name", SMALL_RUNS)
def test_no_example_imports_us(name: str) -> None:
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(ast.parse((EXAMPLES / name).read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
    }
    assert not imported & {"dstui", "dstui_store"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL_RUNS)
def test_an_example_is_tracked_as_it_is(name: str, project: Path, ds: DsCommand) -> None:
    arguments, metric = SMALL_RUNS[name]
    shutil.copy(EXAMPLES / name, project)
    done = ds("run", name, *arguments)
    assert done.code == 0, done.err
    run = json.loads(ds("show", "@", "--json").out)
    assert run["state"] == "finished"
    assert str(run["config"][arguments[0].removeprefix("--")]) == arguments[1]
    assert 0 < run["summary"][metric]["last"] < 10
