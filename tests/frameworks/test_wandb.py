"""wandb: in its place without network or file, and beside it when the user chose so."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.frameworks.conftest import assert_same

if TYPE_CHECKING:
    from tests.frameworks.conftest import Run, Tracked, Truth

CONFIG: dict[str, Any] = {
    "lr": 0.2,
    "model.name": "mlp",
    "model.widths": [16, 8],
    "amp": False,
    "note": None,
    "seed": 5,
    "optimizer": "adam",
    "extra": 7,
    "run2/lr": 0.4,
}


def expected_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The curves of two runs of wandb as those of one: what both have is told apart."""
    first, second = (run["curves"] for run in runs)
    expected = {**first, **{f"run2/{name}" if name in first else name: curve for name, curve in second.items()}}
    # The script defines that these go by another metric.
    expected["val/acc"] = [[epoch, value] for epoch, (_, value) in enumerate(expected["val/acc"])]
    # Only its summary has this.
    expected["best"] = [[101, 0.75]]
    return expected


def check(tracked: Tracked, runs: list[dict[str, Any]]) -> None:
    assert_same(tracked.metrics, expected_of(runs), 1e-9)
    assert tracked.sources() == {"hook:wandb"}
    assert {name: tracked.config.get(name, "missing") for name in CONFIG} == CONFIG
    assert set(tracked.config) == {*CONFIG, "wandb_mode"}
    assert tracked.show["tags"] == ["a", "b"]
    assert "finished run" not in tracked.done.err
    assert tracked.show["experiment"] == "pairs"
    assert tracked.show["capture"]["uncounted"]["Image"] == 1
    assert tracked.show["capture"]["uncounted"]["Histogram"] == 1


def offline_runs(plainly: Callable[..., None], truth: Truth, project: Path) -> list[dict[str, Any]]:
    """What wandb records of the program without `ds run`."""
    plainly("wandb_train.py", "--lr", "0.2", "--wandb-mode", "offline", env={"WANDB_DIR": str(project.parent)})
    return list(truth("wandb", project.parent / "wandb"))


def test_in_its_place_without_network_or_file(
    run: Run, truth: Truth, plainly: Callable[..., None], project: Path, program: Callable[[str], str]
) -> None:
    runs = offline_runs(plainly, truth, project)
    assert len(runs) == 2
    log = project.parent / "network.log"
    command = (program("strace"), "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(log), "python")
    tracked = run("wandb_train.py", "wandb_train.py", "--lr", "0.2", "--wandb-mode", "online", command=command)
    check(tracked, runs)
    calls = [line for line in log.read_text().splitlines() if re.search(r"AF_INET6?|AF_UNIX", line)]
    assert calls == []
    assert not (project / "wandb").exists()
    assert "wandb: recorded here, not sent" in tracked.done.err
    assert "api_key" not in tracked.done.err.lower()


def test_a_mode_that_the_user_chose_is_untouched(run: Run, truth: Truth) -> None:
    tracked = run("wandb_train.py", "--lr", "0.2", env={"WANDB_MODE": "offline"})
    runs = truth("wandb", tracked.folder / "wandb")
    check(tracked, runs)


def test_both(run: Run, truth: Truth) -> None:
    tracked = run("wandb_train.py", "--lr", "0.2", "--wandb-mode", "offline", env={"DSTUI_CAPTURE_WANDB": "both"})
    runs = truth("wandb", tracked.folder / "wandb")
    assert len(runs) == 2
    check(tracked, runs)


def test_off(run: Run, truth: Truth) -> None:
    tracked = run("wandb_train.py", "--wandb-mode", "offline", env={"DSTUI_CAPTURE_WANDB": "off"})
    assert len(truth("wandb", tracked.folder / "wandb")) == 2
    assert tracked.metrics == {}
    assert tracked.config == {"lr": 0.1, "wandb_mode": "offline"}
    assert "wandb" not in tracked.show["capture"]["loggers"]


def test_it_is_what_the_script_sees_without_us(project: Path, outside: dict[str, str]) -> None:
    """A script that asks wandb for its state goes the way that it goes in wandb's own disabled mode."""
    (project / "train.py").write_text(
        "import wandb\nassert wandb.login() is True\nrun = wandb.init(project='p', mode='online')\n"
        "assert wandb.run is run and run.id and run.name is not None\n"
        "wandb.log({'a': 1})\nrun.log_code('.')\nwandb.save('train.py')\nwandb.alert(title='t', text='x')\n"
        "wandb.log({'table': wandb.Table(columns=['x'], data=[[1]])})\n"
        "run.config.update({'b': 2}, allow_val_change=True)\nwandb.finish()\nassert wandb.run is None\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "dstui", "run", "train.py"],
        cwd=project,
        env={**outside},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
