"""`ds why`, `ds diff` and `--data` on real runs: what a person changed between a good run and a bad one is named."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dstui.sdk import explain, open_project

if TYPE_CHECKING:
    from dstui.sdk import Explanation
    from tests.conftest import CommandResult, DsCommand

GOOD = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--batch_size", type=int, default=8)
args = parser.parse_args()
loss = 1.0
for step in range(8):
    loss = loss * 0.8 if args.lr < 1 else loss * 1e60
    print(f"step {step} loss={loss:.4g}")
"""


@pytest.fixture
def why(project: Path) -> Callable[[str], Explanation]:
    """`why("#2")`: the explanation of a run."""

    def read(name: str) -> Explanation:
        with open_project(project) as found:
            return explain(found, name)

    return read


def run(ds: DsCommand, project: Path, script: str, *words: str) -> CommandResult:
    (project / "train.py").write_text(script)
    return ds("run", "train.py", *words)


FAILURES = {
    "key_in_a_library": ("import string\nstring.Template('$label').substitute({})\n", "exception", "KeyError", 2),
    "syntax": ("x = 1\ndef f(:\n    pass\n", "syntax", "SyntaxError", 2),
    "import": ("import os\nimport no_such_package_of_anybody\n", "missing_module", "ModuleNotFoundError", 2),
    "argparse": ("import argparse\nargparse.ArgumentParser().parse_args(['--foo'])\n", "arguments", None, None),
    "segfault": ("import faulthandler as f\nf.enable()\nf._sigsegv()\n", "crash", "Fatal Python error", 3),
    "silent_segfault": ("import os\nos.kill(os.getpid(), 11)\n", "crash", None, None),
    "assertion": ("batch = 3\nassert batch % 2 == 0, f'odd batch {batch}'\n", "exception", "AssertionError", 2),
    "disk_full": ("f = open('/dev/full', 'w')\nf.write('x' * 100000)\n", "disk_full", "OSError", 2),
    "memory": ("x = [0]\nfor n in range(99):\n    x = x * 10**6\n", "host_memory", "MemoryError", 3),
    "missing_file": ("open('data/labels.csv')\n", "missing_file", "FileNotFoundError", 1),
    "exit_code": ("raise SystemExit(3)\n", "unknown", None, None),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FAILURES)
def test_a_real_failure_is_explained(
    name: str, ds: DsCommand, project: Path, why: Callable[[str], Explanation]
) -> None:
    script, kind, exception, line = FAILURES[name]
    run(ds, project, script)
    found = why("@")
    assert found.failure is not None
    assert (found.failure.kind, found.failure.exception) == (kind, exception)
    place = found.failure.place
    assert line is None or (place is not None and (place.path.removeprefix("./"), place.line) == ("train.py", line))
    assert found.action
    assert any(item.topic == "memory" for item in found.statements)


@pytest.mark.slow
def test_the_changed_line_that_failed_is_the_first_suspect(
    ds: DsCommand, project: Path, why: Callable[[str], Explanation]
) -> None:
    run(ds, project, GOOD, "--batch_size", "8")
    run(ds, project, GOOD + "print({'loss': loss}['acc'])\n", "--batch_size", "16")
    found = why("@")
    assert found.compared_as == "#1"
    assert [(item.kind, item.what) for item in found.changes] == [("code", "train.py"), ("config", "batch_size")]
    assert found.changes[0].likely is not None
    assert "which changed" in found.changes[0].likely
    assert set(found.same) == {"data", "packages", "environment"}
    assert found.action == "`ds diff '#1' '#2' --code` shows what changed in train.py"
    printed = ds("why", "@")
    assert printed.code == 0
    assert "KeyError: 'acc'" in printed.out
    data = json.loads(ds("why", "@", "--json").out)
    assert (data["cause"]["exception"], data["changes"][0]["what"]) == ("KeyError", "train.py")
    assert data["compared_with"]["number"] == 1


@pytest.mark.slow
def test_a_loss_that_stops_being_a_number_points_to_the_learning_rate(
    ds: DsCommand, project: Path, why: Callable[[str], Explanation]
) -> None:
    run(ds, project, GOOD, "--lr", "0.1", "--batch_size", "8")
    run(ds, project, GOOD + "assert loss < 10, 'stopped'\n", "--lr", "5", "--batch_size", "4")
    found = why("@")
    (told,) = [item.text for item in found.statements if item.topic == "diverged"]
    assert told.startswith("loss is infinite since step ")
    assert [item.what for item in found.changes if item.kind == "config"] == ["lr", "batch_size"]


@pytest.mark.slow
def test_runs_that_did_not_fail_say_how_they_stand(
    ds: DsCommand, project: Path, why: Callable[[str], Explanation], wait_until: Callable[..., None]
) -> None:
    run(ds, project, GOOD)
    first = why("@")
    assert (first.failure, first.compared_with) == (None, None)
    assert first.sentence.startswith("finished after")
    run(ds, project, GOOD, "--lr", "0.2")
    assert [(item.kind, item.what, item.before, item.after) for item in why("@").changes] == [
        ("config", "lr", 0.1, 0.2)
    ]
    (project / "train.py").write_text("import time\nprint('waiting', flush=True)\ntime.sleep(600)\n")
    front = subprocess.Popen([sys.executable, "-m", "dstui", "run", "train.py"], cwd=project, stderr=subprocess.DEVNULL)
    wait_until(lambda: "waiting" in ds("logs", "@").out)
    running = why("@")
    assert running.sentence.startswith("running for")
    assert ("last output", "waiting") in [(item.topic, item.text) for item in running.statements]
    ds("stop", "@")
    front.wait(timeout=30)
    stopped = why("@")
    assert (stopped.run.state, stopped.sentence.endswith("ds stop")) == ("stopped", True)
    assert stopped.failure is not None
    assert stopped.failure.kind == "ended"


@pytest.mark.slow
def test_a_time_limit_is_named_and_not_blamed_on_the_script(
    ds: DsCommand, project: Path, why: Callable[[str], Explanation]
) -> None:
    (project / "train.py").write_text("import time\ntime.sleep(600)\n")
    ds("run", "--time", "0.3s", "train.py")
    found = why("@")
    assert "time limit" in found.sentence
    assert found.action.startswith("give it more time")


@pytest.mark.slow
def test_a_hostile_log_is_cleaned_and_explained(ds: DsCommand, project: Path) -> None:
    script = (
        "import sys\n"
        "sys.stdout.write('\\x1b]0;title\\x07\\x1b[2J' * 1000 + 'Traceback (most recent call last):\\n' * 3000)\n"
        "raise RuntimeError('\\x1b[31mred\\x07 \\u202e end')\n"
    )
    run(ds, project, script)
    printed = ds("why", "@")
    assert printed.code == 0
    assert "RuntimeError" in printed.out
    assert not set(printed.out) & {"\x1b", "\x07", "\u202e"}


def show(ds: DsCommand) -> dict[str, Any]:
    found = json.loads(ds("show", "@", "--json").out)
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
def test_named_and_opened_data_are_kept_by_hash_and_their_change_is_a_difference(
    ds: DsCommand, project: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.bin"
    outside.write_bytes(b"o" * 10)
    (project / "big.bin").write_bytes(b"b" * (2 << 20))
    (project / "set").mkdir()
    (project / "set" / "a.npy").write_bytes(b"a")
    (project / ".gitignore").write_text("*.npy\n*.bin\n")
    (project / "train.py").write_text("open('big.bin', 'rb').read()\nopen('README.md').read()\nprint('done')\n")
    assert ds("run", "--data", "set", "--data", outside, "train.py").code == 0
    data = {item["path"]: item for item in show(ds)["data"]}
    assert set(data) == {"set", str(outside), "big.bin"}
    assert data["big.bin"]["source"] == "opened"
    assert data["big.bin"]["sha256"] == hashlib.sha256(b"b" * (2 << 20)).hexdigest()
    assert data[str(outside)]["sha256"] == hashlib.sha256(b"o" * 10).hexdigest()
    assert (data["set"]["kind"], data["set"]["files"]) == ("folder", 1)
    (project / "set" / "a.npy").write_bytes(b"other")
    assert ds("run", "--data", "set", "--data", outside, "train.py").code == 0
    found = json.loads(ds("diff", "#1", "#2", "--json").out)
    assert [item["key"] for item in found["data"]] == ["set"]
    assert (found["config"], found["packages"], found["unknown"]) == ([], [], {})
    printed = ds("diff", "#1", "#2")
    assert "packages     the same" in printed.out
    assert "set" in ds("diff", "#1", "#2", "--data").out


@pytest.mark.slow
def test_an_environment_is_recorded_the_first_time_as_later(ds: DsCommand, project: Path) -> None:
    (project / "requirements.txt").write_text("numpy\n")
    ds("run", "true")
    first = show(ds)["environment"]
    ds("run", "true")
    second = show(ds)["environment"]
    assert first == second
    assert first["python"]["version"] == sys.version.split()[0]
    assert first["packages"]["pytest"]
    assert [item["path"] for item in first["lock_files"]] == ["requirements.txt"]


@pytest.mark.slow
def test_data_that_is_not_there_stops_the_run_before_it_starts(ds: DsCommand, project: Path) -> None:
    refused = ds("run", "--data", "missing.csv", "train.py")
    assert (refused.code, "missing.csv" in refused.err) == (125, True)
    assert json.loads(ds("ls", "--json").out) == []


@pytest.mark.slow
def test_packages_and_data_are_there_when_the_front_was_killed(
    ds: DsCommand, project: Path, wait_until: Callable[..., None]
) -> None:
    (project / "table.csv").write_text("1\n")
    script = "import os, time\nprint('waiting', flush=True)\nwhile not os.path.exists('gate'): time.sleep(0.01)\n"
    (project / "train.py").write_text(script)
    front = subprocess.Popen(
        [sys.executable, "-m", "dstui", "run", "--data", "table.csv", "train.py"],
        cwd=project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: "waiting" in ds("logs", "@").out, 30)
    front.kill()
    front.wait()
    (live,) = project.glob(".git/ds/*/live/*/")
    # As if it had been killed before it knew anything.
    (live / "env.json").unlink(missing_ok=True)
    (project / "gate").touch()
    wait_until(lambda: not live.exists(), 30)
    found = show(ds)
    assert found["environment"]["packages"]["pytest"]
    assert [item["sha256"] for item in found["data"]] == [hashlib.sha256(b"1\n").hexdigest()]
