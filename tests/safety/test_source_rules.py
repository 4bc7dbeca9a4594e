"""What the source must never do, whoever writes the next line of it: asked of every file of the product."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "dstui").rglob("*.py"), *(ROOT / "store" / "dstui_store").rglob("*.py")])
STORE = [path for path in SOURCES if "dstui_store" in path.parts]
GIT_MODULE = ROOT / "store" / "dstui_store" / "git.py"
NETWORK_MODULE = GIT_MODULE.with_name("network.py")

LOADERS = (
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "yaml",
    "h5py",
    "tables",
    "jsonpickle",
)
"""Libraries that run code of what they read, or take too much of it."""

SHELLS = (
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "pty.spawn",
    "commands.getoutput",
)
EVALUATORS = ("eval", "exec", "compile", "__import__", "input")
UNPACKERS = ("extractall", "unpack_archive")
NETWORK = (
    "socket.create_connection",
    "urllib.request.urlopen",
    "urlopen",
    "http.client.HTTPConnection",
    "requests.get",
)


@cache
def _nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Calls, imports and dictionaries; all the other nodes would keep the garbage collector busy."""
    kinds = (ast.Call, ast.Import, ast.ImportFrom, ast.Dict)
    return tuple(node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds))


def nodes(paths: list[Path]) -> Iterator[tuple[str, ast.AST]]:
    for path in paths:
        for node in _nodes_of(path):
            yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", node


def calls(paths: list[Path]) -> Iterator[tuple[str, str, ast.Call]]:
    """(place, name of what is called, the call)."""
    for place, node in nodes(paths):
        if isinstance(node, ast.Call):
            yield place, _name(node.func), node


@cache
def _name(function: ast.expr) -> str:
    return ast.unparse(function)


def imports(paths: list[Path]) -> Iterator[tuple[str, str]]:
    for place, node in nodes(paths):
        if isinstance(node, ast.Import):
            yield from ((place, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((place, f"{node.module}.{alias.name}") for alias in node.names)


def test_there_is_source_to_look_at() -> None:
    assert len(SOURCES) > 40
    assert len(STORE) > 10


def test_nothing_that_runs_what_it_reads_is_loaded() -> None:
    found = [(place, name) for place, name in imports(SOURCES) if name.split(".")[0] in LOADERS]
    assert found == []


def test_no_arrow_stream_is_read() -> None:
    found = [(place, name) for place, name in imports(SOURCES) if re.search(r"\b(ipc|feather|flight|hdfs)\b", name)]
    found += [(place, name) for place, name, _ in calls(SOURCES) if re.search(r"\b(ipc|feather|deserialize)\b", name)]
    assert found == []


def test_no_text_becomes_code() -> None:
    found = [(place, name) for place, name, _ in calls(SOURCES) if name in EVALUATORS]
    assert found == []


def test_no_shell_is_started() -> None:
    found = [(place, name) for place, name, _ in calls(SOURCES) if name in SHELLS]
    found += [
        (place, "shell=")
        for place, _, call in calls(SOURCES)
        for keyword in call.keywords
        if keyword.arg == "shell" and ast.unparse(keyword.value) != "False"
    ]
    assert found == []


def test_every_process_is_started_with_a_list_of_words() -> None:
    starters = {
        "subprocess.run",
        "subprocess.Popen",
        "subprocess.check_output",
        "subprocess.check_call",
        "subprocess.call",
    }
    found = [
        (place, ast.unparse(call.args[0]))
        for place, name, call in calls(SOURCES)
        if name in starters and (not call.args or isinstance(call.args[0], (ast.Constant, ast.JoinedStr)))
    ]
    assert found == []


def test_every_wait_for_a_process_of_the_store_has_an_end() -> None:
    endless = [
        place
        for place, name, call in calls([GIT_MODULE, NETWORK_MODULE])
        if name == "subprocess.run" and "timeout" not in {keyword.arg for keyword in call.keywords}
    ]
    # `git version` alone: it reads nothing.
    assert len(endless) <= 1


def test_no_archive_is_unpacked_unseen() -> None:
    found = [(place, name) for place, name, _ in calls(SOURCES) if name.rpartition(".")[2] in UNPACKERS]
    assert found == []


def test_the_store_opens_no_connection() -> None:
    found = [(place, name) for place, name, _ in calls(STORE) if name in NETWORK]
    found += [
        (place, name)
        for place, name in imports(STORE)
        if name.split(".")[0] in {"requests", "urllib", "http", "ftplib"}
    ]
    assert found == []


def test_temporary_names_are_random_or_our_own() -> None:
    found = [
        (place, name) for place, name, _ in calls(SOURCES) if name in {"tempfile.mktemp", "os.tempnam", "os.tmpnam"}
    ]
    assert found == []


def test_the_store_reads_and_prints_nothing_behind_its_caller_s_back() -> None:
    found = [
        (place, name) for place, name, _ in calls(STORE) if name in {"print", "sys.stdout.write", "sys.stderr.write"}
    ]
    assert found == []


def test_sql_is_made_of_our_own_words_only() -> None:
    pasted = [
        (place, ast.unparse(call.args[0])[:80])
        for place, name, call in calls(STORE)
        if name.rpartition(".")[2] in {"execute", "executemany", "executescript"}
        and call.args
        and isinstance(call.args[0], (ast.JoinedStr, ast.BinOp))
    ]
    allowed = {"f'PRAGMA user_version = {INDEX_VERSION}'", "f'DELETE FROM {table}'"}
    # Names of tables that the file itself lists, when all of them are dropped.
    assert [text for _, text in pasted if text not in allowed and not text.startswith("f'DROP TABLE")] == []


@pytest.mark.parametrize(
    "variable",
    [
        "GIT_ALLOW_PROTOCOL",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_NO_LAZY_FETCH",
        "GIT_LITERAL_PATHSPECS",
        "GIT_ATTR_NOSYSTEM",
        "GIT_OPTIONAL_LOCKS",
    ],
)
def test_the_one_environment_has_each_variable_that_bears_load(variable: str) -> None:
    from dstui_store.git import local_environment

    assert variable in local_environment(Path("/nowhere/store.git"))


def test_only_one_function_makes_an_environment_for_git() -> None:
    makers = [
        place
        for place, node in nodes(SOURCES)
        if isinstance(node, ast.Dict)
        and any(isinstance(key, ast.Constant) and key.value == "GIT_DIR" for key in node.keys)
    ]
    assert len(makers) == 1
    assert makers[0].startswith("store/dstui_store/git.py")


def test_only_one_module_makes_git_reach_out() -> None:
    reaching = {"push", "fetch", "ls-remote", "pull", "clone"}
    found = [
        place
        for place, name, call in calls(STORE)
        if name.endswith("_run") or name in {"git.run", "self.git.run", "store.git.run", "self._git.run"}
        if call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value in reaching
    ]
    assert found
    assert {place.rpartition(":")[0] for place in found} == {"store/dstui_store/network.py"}


def test_local_work_never_reaches_out() -> None:
    from dstui_store.git import VERBS
    from dstui_store.network import NETWORK_VERBS

    shared = VERBS & NETWORK_VERBS
    assert shared == {"config"}


def test_git_never_gets_the_environment_of_the_user() -> None:
    for place, name, call in calls([GIT_MODULE, NETWORK_MODULE]):
        if name in {"subprocess.run", "subprocess.Popen"}:
            environment = [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "env"]
            assert environment, place
            assert "os.environ" not in environment[0], place


def test_modes_of_what_we_make_are_said() -> None:
    opened = [
        (place, call)
        for place, name, call in calls(STORE)
        if name == "os.open" and call.args and "O_CREAT" in ast.unparse(call)
    ]
    assert opened
    assert [place for place, call in opened if len(call.args) < 3] == []
