"""The walls between rooms and around git stand: what no reviewer should have to look for."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "dstui").rglob("*.py"), *(ROOT / "store" / "dstui_store").rglob("*.py")])
INSIDE = sorted((ROOT / "dstui" / "inside").rglob("*.py"))
GIT_MODULE = ROOT / "store" / "dstui_store" / "git.py"

LOCAL_VERBS = frozenset(
    "ls-files hash-object update-index read-tree write-tree commit-tree pack-objects update-ref for-each-ref rev-parse "
    "rev-list cat-file config repack prune fsck version ls-tree diff-tree".split()
)
"""Verbs that run nothing of a project in our own git dir; of `diff-tree` a test below asks the options too."""
NETWORK_VERBS = frozenset({"push", "fetch", "ls-remote"})
FORBIDDEN_VERBS = frozenset(
    "add am apply bisect branch checkout cherry-pick clean clone commit diff grep log merge mv pull rebase reset "
    "restore rm show stash status submodule switch tag worktree".split()
)
"""Verbs that run a project's hooks, filters or programs, or that change its files."""


def strings_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of each string constant of a file that is not a docstring."""
    tree = ast.parse(path.read_text())
    expressions = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    docstrings = {id(value) for value in expressions if isinstance(value, ast.Constant)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def command_lists_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, leading constant words) of each list or tuple that starts with a string, as argument vectors do."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.List, ast.Tuple)):
            words: list[str] = []
            for element in node.elts:
                if not (isinstance(element, ast.Constant) and isinstance(element.value, str)):
                    break
                words.append(element.value)
            if words:
                yield node.lineno, words


@pytest.mark.slow
def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_git_is_started_in_one_file_only() -> None:
    starters = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        if path != GIT_MODULE
        for line, words in command_lists_of(path)
        if Path(words[0]).name == "git" and len(words) > 1
    ]
    assert starters == []


def test_git_is_found_by_one_file_for_itself_and_for_the_network() -> None:
    finders = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path not in {GIT_MODULE, GIT_MODULE.with_name("network.py")}
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"shutil.which", "which", "git_program"}
        and (not node.args or ast.unparse(node.args[0]) == "'git'")
    ]
    assert finders == []


def test_only_the_agreed_git_verbs_are_called() -> None:
    from dstui_store.git import VERBS

    assert VERBS <= LOCAL_VERBS | NETWORK_VERBS
    called = [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node.args[0].value)
        for path in SOURCES
        if "dstui_store" in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "run"
        and ast.unparse(node.func.value).rpartition(".")[2] in {"git", "_git", "self"}
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]
    assert called, "the search for calls of git finds nothing any more"
    assert [(place, verb) for place, verb in called if verb not in LOCAL_VERBS | NETWORK_VERBS] == []


def test_a_diff_runs_no_driver_of_anyone() -> None:
    diffs = [
        (f"{path.relative_to(ROOT)}:{node.lineno}", {ast.unparse(argument) for argument in node.args})
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.args[0]) == "'diff-tree'"
    ]
    assert diffs, "the search for diff-tree finds nothing any more"
    assert [place for place, words in diffs if not {"'--no-ext-diff'", "'--no-textconv'"} <= words] == []


def test_no_argument_list_holds_a_verb_that_could_run_or_change_a_project_s_files() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} {words[:2]}"
        for path in SOURCES
        for line, words in command_lists_of(path)
        if words[0] == "git" and FORBIDDEN_VERBS & set(words)
    ]
    assert found == []


def test_the_only_git_dir_is_our_store() -> None:
    # In a dictionary the variable and its value; anywhere else, a mention outside the module that speaks to git.
    values = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "GIT_DIR":
                        values.append((path, ast.unparse(value)))
    assert values, "the search for GIT_DIR finds nothing any more"
    assert [(str(path), text) for path, text in values if path != GIT_MODULE or "store_git" not in text] == []
    elsewhere = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        if path != GIT_MODULE
        for line, text in strings_of(path)
        if text in {"GIT_DIR", "GIT_WORK_TREE"} or text.startswith(("--git-dir", "--work-tree"))
    ]
    assert [place for place in elsewhere if not place.startswith("store/dstui_store/snapshot.py")] == []


def test_what_runs_inside_a_training_process_uses_the_standard_library_and_its_siblings_only() -> None:
    def in_package(path: Path) -> bool:
        return path.parent.name == "capture" or path.name in {"client.py", "media.py", "values.py"}

    siblings = {path.stem for path in INSIDE} | {"_dstui"}
    foreign = []
    for path in INSIDE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                # What the hook needs is a package wherever it is copied to; the rest is run by path.
                assert node.level == 0 or in_package(path), f"{path}:{node.lineno} has no package to be relative to"
                if node.level:
                    continue
                names = [node.module or ""]
            else:
                continue
            foreign += [
                f"{path.relative_to(ROOT)}:{node.lineno} {name}"
                for name in names
                if name.partition(".")[0] not in sys.stdlib_module_names | siblings
                and not (name + ".").startswith("dstui.inside.")
            ]
    assert foreign == []


def test_what_runs_inside_a_training_process_parses_as_python_3_9() -> None:
    for path in INSIDE:
        ast.parse(path.read_text(), feature_version=(3, 9))


def test_no_test_sleeps() -> None:
    sleepers = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep", "asyncio.sleep"}
    ]
    assert sleepers == []


def test_no_file_is_named_after_nothing() -> None:
    attics = [path for path in SOURCES if re.fullmatch(r"(utils?|helpers?|common|misc)\.py", path.name)]
    assert attics == []


def test_only_the_output_door_prints() -> None:
    doors = (ROOT / "dstui" / "cli" / "output.py", ROOT / "dstui" / "cli" / "diagnostics.py")
    printers = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        # A module that is started as a program of its own answers whoever started it.
        if path not in doors and path not in INSIDE and '__name__ == "__main__"' not in path.read_text()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "sys.stdout.write"}
    ]
    assert printers == []
