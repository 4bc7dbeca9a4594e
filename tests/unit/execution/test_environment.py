"""What is recorded of an interpreter and a machine: packages by their folders, nothing imported, asked once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from dstui.execution import command, environment, interpreter
from dstui.execution.interpreter import Interpreter
from dstui_store import Store


def make_package(folder: Path, name: str, version: str, direct_url: dict[str, object] | None = None) -> Path:
    """A package as an installer leaves it, as far as its version can be seen."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if direct_url is not None:
        (info / "direct_url.json").write_text(json.dumps(direct_url))
    return info


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real virtual environment without pip: a package of each kind, and one that must never be imported."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    site = next((folder / "lib").glob("python*/site-packages"))
    make_package(site, "NumPy", "2.1.0")
    make_package(site, "My_Own.Tool", "1.0", {"url": f"file://{folder}/own%20tool", "dir_info": {"editable": True}})
    make_package(
        site,
        "peft",
        "0.13.dev0",
        {"url": "https://ada:secret@example.org/peft.git", "vcs_info": {"vcs": "git", "commit_id": "ab" * 20}},
    )
    (site / "old-0.3-py3.11.egg-info").write_text("Name: old\nVersion: 0.3\n")
    (site / "loud.pth").write_text("import sys; sys.stdout.write('loud'); raise SystemExit(3)\n")
    (site / "torch").mkdir()
    (site / "torch" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (site / "torch" / "version.py").write_text(
        "from typing import Optional\n__version__ = '2.7.1+cu126'\n"
        "cuda: Optional[str] = '12.6'\nhip: Optional[str] = None\n"
    )
    return folder / "bin" / "python"


def test_packages_are_read_without_running_anything_of_them(python: Path, tmp_path: Path) -> None:
    answer = interpreter.ask(tmp_path / "cache", Interpreter(python, "script"), os.environ)
    assert answer["packages"] == {"my-own-tool": "1.0", "numpy": "2.1.0", "old": "0.3", "peft": "0.13.dev0"}
    assert answer["sources"]["my-own-tool"] == {"path": f"{python.parent.parent}/own tool", "editable": True}
    assert answer["sources"]["peft"] == {"url": "https://example.org/peft.git", "commit": "ab" * 20}
    assert answer["torch"] == {"version": "2.7.1+cu126", "cuda": "12.6", "hip": None}
    assert (answer["kind"], answer["prefix"]) == ("venv", str(python.parent.parent))
    real = subprocess.run([python, "-c", "import sys; print(sys.version.split()[0])"], capture_output=True, check=False)
    assert answer["version"] in (real.stdout.decode().strip(), sys.version.split()[0])


def test_an_answer_is_remembered_until_a_package_changes(python: Path, tmp_path: Path) -> None:
    cache, one = tmp_path / "cache", Interpreter(python, "script")
    assert interpreter.remembered(cache, one, os.environ) is None
    first = interpreter.ask(cache, one, os.environ)
    assert interpreter.remembered(cache, one, os.environ) == first
    assert interpreter.remembered(cache, one, {**os.environ, "PYTHONPATH": str(tmp_path)}) is None
    info = make_package(next((python.parent.parent / "lib").glob("python*/site-packages")), "added", "1")
    try:
        assert interpreter.remembered(cache, one, os.environ) is None
        assert interpreter.ask(cache, one, os.environ)["packages"]["added"] == "1"
    finally:
        (info / "METADATA").unlink()
        info.rmdir()


def test_a_damaged_cache_is_asked_for_anew(python: Path, tmp_path: Path) -> None:
    cache, one = tmp_path / "cache", Interpreter(python, "script")
    interpreter.ask(cache, one, os.environ)
    (file,) = cache.glob("python-*.json")
    for content in (b"", b"[]", b'{"watched": 3}', b"\xff\xfe"):
        file.write_bytes(content)
        assert interpreter.remembered(cache, one, os.environ) is None


def test_an_interpreter_that_cannot_be_asked_is_an_error_with_its_name(tmp_path: Path) -> None:
    from dstui.errors import LaunchError

    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(LaunchError, match=str(broken)):
        interpreter.ask(tmp_path / "cache", Interpreter(broken, "command"), os.environ)


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("words", "found_by"),
    [(["train.py"], "script"), (["python", "-c", "pass"], "command"), (["./tool"], "shebang"), (["true"], "path")],
)
def test_the_interpreter_is_that_of_the_command(words: list[str], found_by: str, python: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    executable(tmp_path / "tool", f"#!{python}\npass\n")
    variables = {"PATH": f"{python.parent}:/usr/bin:/bin"}
    found = interpreter.of_command(command.resolve(words, tmp_path, variables), tmp_path, variables)
    assert found is not None
    assert (found.path, found.found_by) == (python, found_by)


def test_a_long_path_in_the_second_line_of_a_program_is_found(python: Path, tmp_path: Path) -> None:
    tool = executable(tmp_path / "torchrun", f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n")
    found = interpreter.of_command(command.Command((str(tool),), None), tmp_path, {"PATH": "/usr/bin"})
    assert found == Interpreter(python, "shebang")


@pytest.mark.parametrize(
    ("line", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC: 12.2\n",
            "550.54.15",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86  Release Build  (root@host)\n", "570.86"),
        ("", None),
    ],
)
def test_the_driver_is_read_from_its_own_words(line: str, version: str | None, tmp_path: Path) -> None:
    (tmp_path / "version").write_text(line)
    assert environment.nvidia_driver(tmp_path / "version") == version


def test_lock_files_are_named_with_their_hash(tmp_path: Path) -> None:
    for name in ("uv.lock", "requirements-dev.txt", "environment.yml", "notes.txt"):
        (tmp_path / name).write_text("x")
    found = environment.lock_files(tmp_path, tmp_path)
    assert [item["path"] for item in found] == ["environment.yml", "requirements-dev.txt", "uv.lock"]
    assert {item["sha256"] for item in found} == {"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}


def test_thousands_of_packages_stay_within_what_readers_admit(tmp_path: Path) -> None:
    packages = {f"package-{number:05}-{'n' * 300}": "1.0" for number in range(5_000)}
    described = environment.describe({}, None, tmp_path, tmp_path)
    found = environment.with_packages(described, {"packages": packages}, {}, tmp_path, None)
    assert len(json.dumps(found)) <= environment.MAX_BYTES
    assert found["cut"][-1] == "packages"
    assert 1_000 < len(found["packages"]) < 5_000


def test_an_editable_install_elsewhere_is_named_with_its_commit_and_edits(
    project: Path, tmp_path: Path, in_git: Callable[..., Path]
) -> None:
    from dstui_store import worktree_of

    other = in_git(tmp_path / "other")
    with Store.open(project, create=True) as store:
        clean = worktree_of(store.layout, other / "package")
        (other / "package" / "a.py").write_text("edited\n")
        edited = worktree_of(store.layout, other)
        subprocess.run(["git", "add", "-A"], cwd=other, check=True)
        staged = worktree_of(store.layout, other)
    assert (clean.branch, clean.dirty, edited.dirty, staged.dirty) == ("main", False, True, True)
    assert clean.commit == subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=other, text=True).strip()


@pytest.fixture
def in_git() -> Callable[..., Path]:
    """Makes a repository with one file, and with a filter and a hook that would tell if they were run."""

    def make(folder: Path) -> Path:
        (folder / "package").mkdir(parents=True)
        (folder / "package" / "a.py").write_text("a\n")
        for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "start")):
            subprocess.run(["git", *words], cwd=folder, check=True)
        (folder / ".git" / "info").mkdir(exist_ok=True)
        (folder / ".git" / "info" / "attributes").write_text("* filter=planted\n")
        for key, value in (
            ("filter.planted.clean", f"touch {folder}/fired; cat"),
            ("core.fsmonitor", f"touch {folder}/fired"),
        ):
            subprocess.run(["git", "config", key, value], cwd=folder, check=True)
        return folder

    return make


def test_nothing_of_that_repository_is_run(project: Path, tmp_path: Path, in_git: Callable[..., Path]) -> None:
    from dstui_store import worktree_of

    other = in_git(tmp_path / "other")
    (other / "package" / "a.py").write_text("other\n")
    subprocess.run(["git", "status"], cwd=other, check=True, capture_output=True)
    # What was planted does work, with the user's own git.
    (other / "fired").unlink()
    with Store.open(project, create=True) as store:
        assert worktree_of(store.layout, other).dirty is True
    assert not (other / "fired").exists()
