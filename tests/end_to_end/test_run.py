"""One real run from the command line to the store and back, the way a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import CommandResult, DsCommand

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("project")]

TRAIN = """\
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.5)
options = parser.parse_args()
for step in range(5):
    print(f"step {step} loss={options.lr / (step + 1):.6f}")
"""


def only_run(ds: DsCommand) -> dict[str, Any]:
    runs = json.loads(ds("ls", "--json").out)
    assert len(runs) == 1
    return dict(runs[0])


def test_a_run_is_read_back_as_it_was(ds: DsCommand, project: Path) -> None:
    (project / "train.py").write_text(TRAIN)
    done = ds("run", "-e", "first", "-t", "good", "--note", "try it", "-p", "depth=3", "train.py", "--lr", "0.25")
    assert (done.code, done.out.splitlines()[0]) == (0, "step 0 loss=0.250000")
    run = only_run(ds)
    assert run["state"] == "finished"
    assert run["config"] == {"lr": 0.25, "depth": 3}
    assert (run["experiment"], run["tags"], run["exit_code"]) == ("first", ["good"], 0)
    assert run["command"] == ["train.py", "--lr", "0.25"]
    assert run["summary"]["loss"] == {"last": 0.05, "min": 0.05, "max": 0.25, "step": 4, "count": 5}
    shown = json.loads(ds("show", "@", "--json").out)
    assert shown["notes"] == "try it"
    assert shown["code"]["dirty"] is True
    assert ds("logs", "@").out == done.out
    points = json.loads(ds("metrics", "@", "--json", "--key", "loss").out)["loss"]
    assert points["step"] == [0, 1, 2, 3, 4]
    assert points["value"][0] == 0.25


def test_what_the_commands_say_on_stderr_names_interpreter_and_code(ds: DsCommand, project: Path) -> None:
    (project / "new.py").write_text("x = 1\n")
    said = ds("run", "train.py").err
    assert f"python {Path(sys.executable).parent / 'python'}" in said
    assert "+ 1 new" in said


def extracted(store_git: Path, tree: str, folder: Path) -> None:
    """Writes a stored code tree with git's own reader, into an empty folder."""
    environment = {**os.environ, "GIT_DIR": str(store_git)}
    listing = subprocess.run(["git", "ls-tree", "-r", "-z", tree], env=environment, capture_output=True, check=True)
    for record in listing.stdout.split(b"\0"):
        if record:
            head, _, path = record.partition(b"\t")
            content = subprocess.run(
                ["git", "cat-file", "blob", head.split()[2].decode()], env=environment, capture_output=True, check=True
            ).stdout
            target = folder / os.fsdecode(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def test_stored_code_alone_prints_the_same_again(ds: DsCommand, project: Path, tmp_path: Path) -> None:
    (project / "train.py").write_text("import json, model\nprint(model.answer(json.load(open('conf/a.json'))['k']))\n")
    (project / "model.py").write_text("def answer(k):\n    return k * 2\n")
    (project / "conf").mkdir()
    (project / "conf" / "a.json").write_text('{"k": 21}')
    first = ds("run", "train.py")
    assert first.out == "42\n"
    tree = json.loads(ds("show", "@", "--json").out)["code"]["tree"]
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    extracted(project / ".git" / "ds" / str(os.getuid()) / "store.git", tree, folder)
    again = subprocess.run([sys.executable, "train.py"], cwd=folder, capture_output=True, text=True, check=True)
    assert again.stdout == first.out


def state_of(project: Path) -> dict[str, object]:
    """Everything of the user's repository that a stranger could change, our own folder apart."""
    git = project / ".git"
    files = {
        str(path.relative_to(git)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in git.rglob("*")
        if path.is_file() and "ds" not in path.relative_to(git).parts[:1]
    }
    status = subprocess.run(
        ["git", "status", "--porcelain=v2"],
        cwd=project,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        capture_output=True,
        check=True,
    )
    return {"files": files, "status": status.stdout, "tree": sorted(map(str, project.glob("*")))}


def test_no_command_changes_the_users_repository(ds: DsCommand, project: Path) -> None:
    (project / "train.py").write_text("print('loss=1.0')\n")
    (project / "added.py").write_text("")
    before = state_of(project)
    for arguments in (
        ("run", "train.py"), ("ls",), ("show", "@"), ("logs", "@"), ("metrics", "@"), ("tag", "@", "a"),
        ("untag", "@", "a"), ("note", "@", "text"), ("rename", "@", "name"), ("status",), ("doctor",), ("config",),
        ("init",), ("diff", "@", "@"),
    ):  # fmt: skip
        assert ds(*arguments).code == 0, arguments
    assert state_of(project) == before


def test_the_exit_code_of_the_command_is_ours(ds: DsCommand) -> None:
    assert ds("run", "--", "sh", "-c", "exit 7").code == 7
    assert ds("run", "--", "sh", "-c", "kill -TERM $$").code == -15
    assert ds("run", "nothing-of-this-name").code == 127
    assert ds("run", "missing.py").code == 127
    assert ds("run", "./README.md").code == 126
    assert ds("run", "--no-such-option", "true").code == 125


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ("exit 0", "finished"),
        ("exit 3", "failed"),
        ("kill -KILL $$", "killed"),
        ("echo 'torch.OutOfMemoryError: CUDA out of memory'; exit 1", "oom"),
    ],
)
def test_ends_are_told_apart(ds: DsCommand, script: str, state: str) -> None:
    ds("run", "--", "sh", "-c", script)
    assert only_run(ds)["state"] == state


def test_a_time_limit_ends_the_command(ds: DsCommand) -> None:
    ds("run", "--time", "0.2s", "--", "sleep", "60")
    assert only_run(ds)["state"] == "timeout"


def start(project: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dstui", "run", *words],
        cwd=project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def test_stop_ends_a_running_run_and_says_who_asked(
    ds: DsCommand, project: Path, wait_until: Callable[..., None]
) -> None:
    front = start(project, "--", "sleep", "60")
    wait_until(lambda: "running" in ds("ls").out)
    stopped = json.loads(ds("stop", "@", "--json").out)
    assert (stopped["state"], stopped["stop_reason"]) == ("stopped", "ds stop")
    front.communicate(timeout=20)
    assert ds("stop", "@").code == 2


def test_a_run_goes_on_when_its_terminal_is_lost(ds: DsCommand, project: Path, wait_until: Callable[..., None]) -> None:
    (project / "gate").mkdir()
    script = "import os, time\nwhile not os.path.exists('gate/open'): time.sleep(0.01)\nprint('loss=0.5')\n"
    (project / "train.py").write_text(script)
    front = start(project, "train.py")
    wait_until(lambda: "running" in ds("ls").out)
    front.kill()
    front.communicate()
    assert "running" in ds("ls").out
    (project / "gate" / "open").touch()
    wait_until(lambda: "finished" in ds("ls").out)
    assert only_run(ds)["summary"]["loss"]["last"] == 0.5


def test_metrics_logged_by_several_processes_are_all_there(ds: DsCommand, project: Path) -> None:
    (project / "train.py").write_text(
        "import os, threading, dstui\n"
        "run = dstui.init(config={'model': {'depth': 2}})\n"
        "dstui.log({'parent': 1.0}, step=0)\n"
        "if os.fork() == 0:\n    dstui.log({'child': 2.0}, step=1)\n    os._exit(0)\n"
        "os.wait()\n"
        "workers = [threading.Thread(target=lambda i=i: dstui.log({'thread': float(i)}, step=i)) for i in range(8)]\n"
        "[w.start() for w in workers]; [w.join() for w in workers]\n"
    )
    assert ds("run", "train.py").code == 0
    run = only_run(ds)
    assert {key: value["count"] for key, value in run["summary"].items()} == {"parent": 1, "child": 1, "thread": 8}
    assert run["config"] == {"model.depth": 2}


def test_a_script_that_starts_its_own_run_is_kept(
    ds: DsCommand, project: Path, wait_until: Callable[..., None]
) -> None:
    (project / "own.py").write_text(
        "import dstui\nrun = dstui.init(config={'lr': 0.1})\ndstui.log({'loss': 0.25}, step=3)\n"
    )
    subprocess.run([sys.executable, "own.py"], cwd=project, check=True, capture_output=True)
    wait_until(lambda: "finished" in ds("ls").out)
    run = only_run(ds)
    assert (run["config"], run["summary"]["loss"]["last"]) == ({"lr": 0.1}, 0.25)


def test_diff_tells_params_metrics_and_code_apart(ds: DsCommand, project: Path) -> None:
    (project / "train.py").write_text(TRAIN)
    ds("run", "train.py", "--lr", "1")
    (project / "train.py").write_text(TRAIN + "print('done')\n")
    ds("run", "train.py", "--lr", "2")
    found = json.loads(ds("diff", "#1", "#2", "--json").out)
    assert found["config"] == [{"key": "lr", "before": 1, "after": 2}]
    assert found["metrics"] == [{"key": "loss", "before": 0.2, "after": 0.4}]
    assert found["code"]["files"] == [{"path": "train.py", "kind": "changed", "added": 1, "removed": 0}]
    assert "+print('done')" in ds("diff", "#1", "#2", "--code").out


def test_names_that_mean_no_run_or_several_say_so(ds: DsCommand) -> None:
    ds("run", "-n", "baseline", "true")
    missing: CommandResult = ds("show", "baselin")
    assert missing.code == 3
    assert "`baseline`" in missing.err
    error = json.loads(ds("show", "nothing", "--json").err)["error"]
    assert error["kind"] == "run_not_found"
    ds("run", "-n", "baseline", "true")
    assert "names 2 runs" in ds("show", "baseline").err


def test_a_page_of_a_project_without_runs_says_how_to_make_one(ds: DsCommand) -> None:
    for page in ("runs", "overview"):
        printed = ds("--once", page)
        assert printed.code == 0
        assert "ds run train.py" in printed.out


def test_a_secret_in_a_name_or_note_is_masked_before_anything_is_written(ds: DsCommand, project: Path) -> None:
    secret = "q7Zk2mVx94LpRt0s"
    show = "import os, pathlib\nprint(pathlib.Path(os.environ['DSTUI_RUN_DIR'], 'launch.json').read_text())\n"
    (project / "train.py").write_text(show)
    done = ds("run", "-n", f"n {secret}", "--note", f"with {secret}", "train.py", env={"MY_API_KEY": secret})
    assert done.code == 0
    assert secret not in done.out
    assert "<secret:MY_API_KEY>" in done.out
