"""What a real script keeps is got back by the command line, and a stop is seen in time to save."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import DsCommand

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("project")]

KEEP = r"""
import os, sys, dstui
dstui.log_image("image", [[0, 255]], step=1)
dstui.log_image("image", [[255, 0]], step=2)
dstui.log_text("evil\x1b]0;title\x07\n", "line\x1b[2J\nnext", step=1)
dstui.log_histogram("h", [1, 2, float("nan")], bins=2)
dstui.log_table("t", [{"a": 1, "b": "\x1b[31mred"}])
with open("model.bin", "wb") as file:
    file.write(b"weights")
dstui.log_artifact("model.bin")
dstui.log_artifact("conf")
print(dstui.checkpoint_dir())
if os.fork() == 0:
    dstui.log_text("of a fork", "t")
    os._exit(0)
os.wait()
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_script_kept_is_got_back(ds: DsCommand, project: Path) -> None:
    (project / "keep.py").write_text(KEEP)
    (project / "conf" / "in").mkdir(parents=True)
    (project / "conf" / "in" / "a.yaml").write_text("a: 1\n")
    done = ds("run", "keep.py")
    assert done.code == -9, done.err
    listed = json.loads(ds("media", "@", "--json").out)
    assert [(item["kind"], item["step"]) for item in listed] == [
        ("image", 1),
        ("image", 2),
        ("text", 1),
        ("histogram", None),
        ("table", None),
        ("text", None),
    ]
    human = ds("media", "@").out + ds("media", "@", "t").out + ds("media", "@", listed[2]["name"]).out
    assert "\x1b" not in human
    assert "\x07" not in human
    assert "next" in human
    assert ds("media", "@", "h").out.split() == "from to count 1 1.5 1 1.5 2 1 NaN – 1".split()
    for step, name in ((1, "first.png"), (2, "last.png")):
        assert ds("media", "@", "image", *(["--step", "1"] if step == 1 else []), "-o", name).code == 0
    assert (project / "first.png").read_bytes()[:8] == (project / "last.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (project / "first.png").read_bytes() != (project / "last.png").read_bytes()
    again = ds("media", "@", "image", "-o", "last.png")
    assert (again.code, "File exists" in again.err) == (2, True)

    assert ds("artifacts", "@", "model.bin", "-o", "back.bin").code == 0
    assert (project / "back.bin").read_bytes() == b"weights"
    assert ds("artifacts", "@", "conf", "-o", "conf2").code == 0
    assert (project / "conf2" / "in" / "a.yaml").read_text() == "a: 1\n"
    assert ds("artifacts", "@", "conf").code == 2
    missing = ds("artifacts", "@", "nothing")
    assert (missing.code, "`conf`, `model.bin`" in missing.err) == (2, True)

    shown = json.loads(ds("show", "@", "--json").out)
    assert [(file["name"], file["path"]) for file in shown["artifacts"]] == [("conf", "in/a.yaml"), ("model.bin", "")]
    assert Path(shown["checkpoints"]).is_dir()
    assert done.out.strip() == shown["checkpoints"]
    assert "2 images, 2 texts, 1 histogram, 1 table, 2 artifacts of 12 B" in ds("show", "@").out


def test_the_examples_of_the_client_s_page_run(ds: DsCommand, project: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
    (project / "page.py").write_text("\n".join(re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)))
    done = ds("run", "page.py")
    assert done.code == 0, done.err
    assert "said once" not in done.err
    shown = json.loads(ds("show", "@", "--json").out)
    assert (shown["summary"]["loss"]["count"], shown["config"]["batch_size"]) == (4, 32)
    assert (len(shown["media"]), len(shown["artifacts"])) == (6, 1)
    assert (Path(shown["checkpoints"]) / "LATEST").read_text() == "step-2"
    for line in re.findall(r"^ds ((?:media|artifacts) .*)$", page, re.MULTILINE):
        assert ds(*shlex.split(line, comments=True)).code == 0, line
    assert (project / "best.bin").read_bytes() == b"weights"


STOP = """
import os, time, dstui
run = dstui.init()
print("ready", flush=True)
while not run.should_stop():
    time.sleep(0.01)
with open(os.path.join(run.checkpoint_dir, "last"), "w") as file:
    file.write("saved")
"""


def test_ds_stop_lets_a_script_save(ds: DsCommand, project: Path) -> None:
    (project / "stop.py").write_text(STOP)
    process = subprocess.Popen(
        [Path(sys.executable).parent / "ds", "run", "stop.py"],
        cwd=project,
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        stopped = json.loads(ds("stop", "@", "--json").out)
        process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert (stopped["state"], stopped["exit_code"]) == ("stopped", 0)
    shown = json.loads(ds("show", "@", "--json").out)
    assert (Path(shown["checkpoints"]) / "last").read_text() == "saved"
