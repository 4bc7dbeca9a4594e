"""What goes wrong on real machines: each case ends in a clear sentence or in correct handling, never in a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandResult, DsCommand, run_command

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("project")]


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def shown(ds: DsCommand, cwd: Path | None = None) -> dict[str, Any]:
    return dict(json.loads(ds("show", "@", "--json", cwd=cwd).out))


def fine(result: CommandResult) -> CommandResult:
    """The result of a command that must have worked, and said nothing about a bug."""
    assert result.code == 0, result.err
    assert "Traceback" not in result.err
    assert "bug:" not in result.err
    return result


@pytest.mark.parametrize("kind", ["plain", "empty", "detached", "bare"])
def test_any_kind_of_folder_can_hold_runs(ds: DsCommand, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / kind
    folder.mkdir()
    if kind == "bare":
        git(folder, "init", "-q", "--bare")
    elif kind != "plain":
        git(folder, "init", "-q")
        (folder / "a.py").write_text("print(1)\n")
    if kind == "detached":
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", "x")
        git(folder, "checkout", "-q", "--detach")
    fine(ds("run", "echo", "hello", cwd=folder))
    fine(ds("ls", cwd=folder))
    assert shown(ds, folder)["state"] == "finished"


def test_without_git_the_sentence_says_what_to_install(ds: DsCommand, project: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    result = ds("run", "/bin/true", env={"PATH": str(tmp_path / "bin")})
    assert result.code == 125
    assert result.err.startswith("error: git was not found on PATH\nhint: ")


def test_files_that_cannot_be_stored_are_named(ds: DsCommand, project: Path) -> None:
    with (project / "model.ckpt").open("wb") as checkpoint:
        checkpoint.truncate(3 << 30)
    os.mkfifo(project / "pipe")
    (project / "loop").symlink_to("loop")
    (project / "line\nbreak \x1b[31m.py").write_text("x = 1\n")
    (project / ".env").write_text("A=b\n")
    nested = project / "nested"
    nested.mkdir()
    git(nested, "init", "-q")
    (nested / "n.py").write_text("")
    git(nested, "add", "-A")
    git(nested, "commit", "-q", "-m", "n")
    result = fine(ds("run", "true"))
    assert "\x1b[31m" not in result.err
    code = shown(ds)["code"]
    assert {item["path"] for item in code["skipped"]} == {"model.ckpt", ".env"}
    assert "\x1b" not in ds("show", "@").out


def test_a_submodule_is_noted_by_its_commit(ds: DsCommand, project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "o.py").write_text("")
    git(other, "add", "-A")
    git(other, "commit", "-q", "-m", "o")
    git(project, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "sub")
    fine(ds("run", "true"))
    fine(ds("run", "true", cwd=project / "sub"))


def without_privileges(program: Callable[[str], str], folder: Path, *arguments: str) -> CommandResult:
    """Runs `ds` so that file modes count, which they do not for root."""
    command = [sys.executable, "-m", "dstui", *arguments]
    if os.getuid() == 0:
        command = [program("setpriv"), "--bounding-set=-dac_override,-dac_read_search", *command]
    return run_command(command, cwd=folder)


def test_an_unreadable_file_and_a_read_only_folder_are_handled(project: Path, program: Callable[[str], str]) -> None:
    secret = project / "unreadable.py"
    secret.write_text("x = 1\n")
    secret.chmod(0o000)
    for path in (project, *project.rglob("*")):
        if path.is_dir():
            path.chmod(0o555)
    done = without_privileges(program, project, "run", "true")
    for path in (project, *project.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    assert done.code == 0, done.err
    assert "unreadable.py: cannot be read" in done.err


def test_a_full_disk_ends_the_tracking_and_not_the_training(ds: DsCommand, project: Path, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("making a small disk needs root")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], check=True)
    try:
        folder = small / "p"
        subprocess.run(["git", "clone", "-q", str(project), str(folder)], check=True, capture_output=True)
        (folder / "train.py").write_text("import sys\nsys.stdout.write('x' * 3_000_000)\nprint('end')\n")
        done = ds("run", "train.py", cwd=folder)
        assert (done.code, len(done.out), done.out[-4:]) == (0, 3_000_004, "end\n")
        assert "attached but not kept" in done.err
        # Whether the last pages take the commit is chance; which of the two happened is said.
        assert ("not committed yet" in done.err) != ("committed " in done.err.replace("not committed yet", ""))
        subprocess.run(["mount", "-o", "remount,size=16m", str(small)], check=True)
        fine(ds("ls", cwd=folder))
        assert shown(ds, folder)["commit"] is not None
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


METRICS = """\
import dstui, math
dstui.init()
dstui.log({"a": math.nan, "b": math.inf, "c": -math.inf}, step=5)
dstui.log({"a": 1.0, "complex": 1j, "text": "x", "none": None, "huge": 2 ** 70, "list": [1, 2]}, step=2)
dstui.log({"a": True}, step=3)
dstui.log({"a": 4.0}, step="seven")
for number in range(10_000):
    dstui.log({f"metric/{number}": number}, step=number)
print("alive")
"""


def test_values_that_are_no_metric_are_refused_and_the_rest_is_kept(ds: DsCommand, project: Path) -> None:
    (project / "train.py").write_text(METRICS)
    done = fine(ds("run", "train.py"))
    assert done.out == "alive\n"
    for name in ("complex", "text", "none", "huge", "list"):
        assert f"`{name}`" in done.err, done.err
    metrics = json.loads(ds("metrics", "@", "--json").out)
    assert metrics["b"]["value"] == ["Infinity"]
    assert metrics["a"]["value"][:3] == ["NaN", 1.0, 1.0]
    assert metrics["a"]["step"][:3] == [5, 2, 3]
    assert sum(name.startswith("metric/") for name in metrics) == 10_000


def test_binary_output_and_a_closed_stdout_are_kept_byte_for_byte(ds: DsCommand, project: Path) -> None:
    (project / "train.py").write_text("import os\nos.write(1, bytes(range(256)) * 100)\nos.close(1)\nos.close(2)\n")
    fine(ds("run", "train.py"))
    raw = subprocess.run(
        [sys.executable, "-m", "dstui", "logs", "--raw", "@"], cwd=project, capture_output=True, check=True
    )
    assert raw.stdout == bytes(range(256)) * 100
    assert not set(ds("logs", "@").out) & {chr(code) for code in range(32) if code != 10}


def test_a_hundred_megabytes_of_output_arrive_whole(ds: DsCommand, project: Path) -> None:
    (project / "train.py").write_text("for _ in range(1_000_000):\n    print('x' * 99)\n")
    done = fine(ds("run", "train.py"))
    assert len(done.out) == 100_000_000
    raw = subprocess.run(
        [sys.executable, "-m", "dstui", "logs", "--raw", "@"], cwd=project, capture_output=True, check=True
    )
    assert len(raw.stdout) == 100_000_000


def test_settings_that_are_wrong_name_the_nearest_right_one(ds: DsCommand, project: Path) -> None:
    (project / "dstui.toml").write_text("[run]\nlog_maxx = '1G'\n")
    result = ds("config")
    assert result.code == 2
    assert "`run.log_maxx`" in result.err
    assert "nearest: `run.log_max`" in result.err
    (project / "dstui.toml").write_text("[run]\nlog_max = 'much'\n")
    assert "`much` is not a size" in ds("config").err


def test_hostile_names_and_output_reach_no_terminal(ds: DsCommand, project: Path) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\u202eevil"
    (project / "train.py").write_text(f"print({evil!r} + ' loss=1.5')\n")
    fine(ds("run", "-n", evil, "-t", "a\u200bb", "--note", evil, "-p", f"k{evil}={evil}", "train.py"))
    for arguments in (("ls",), ("show", "@"), ("status",), ("logs", "@"), ("diff", "@", "@"), ("metrics", "@")):
        text = fine(ds(*arguments)).out
        assert not any(ord(character) < 32 and character != "\n" for character in text), arguments
        assert "\u202e" not in text, arguments
