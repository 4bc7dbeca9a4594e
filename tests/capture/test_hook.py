"""Settings, seeds and opened files of scripts that know nothing of dstui, under the real `ds run`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import CommandResult, DsCommand

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("project")]

Tracked = Callable[..., tuple[dict[str, Any], "CommandResult"]]


@pytest.fixture
def tracked(ds: DsCommand, project: Path) -> Tracked:
    """Run a script under `ds run`; what `ds show --json` says, and the command's own output."""

    def run(text: str, *words: str, env: dict[str, str] | None = None, options: tuple[str, ...] = ()) -> Any:
        (project / "script.py").write_text(text)
        done = ds("run", *options, "script.py", *words, env=env)
        return json.loads(ds("show", "@", "--json").out), done

    return run


PARSER = """
import argparse, enum, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("data", nargs="?", default="train.csv")
parser.add_argument("--learning-rate", "-l", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
parser.add_argument("--no-cuda", action="store_true")
parser.add_argument("--betas", type=float, nargs=2, default=(0.9, 0.99))
parser.add_argument("--api-key", default="sk-very-secret-0123456789")
parser.set_defaults(function=print)
options = parser.parse_args()
"""


def test_argparse_gives_every_setting_with_its_default_and_what_was_typed(tracked: Tracked) -> None:
    shown, _ = tracked(PARSER, "--learn", "0.5", "--no-cuda")
    assert shown["config"] == {
        "learning_rate": 0.5,
        "no_cuda": True,
        "data": "train.csv",
        "epochs": 3,
        "out": "out",
        "betas": [0.9, 0.99],
        "api_key": "<secret:api_key>",
    }
    assert shown["origins"]["learning_rate"] == "argparse"
    assert shown["origins"]["epochs"] == "argparse default"


def test_what_was_typed_comes_first_where_a_listing_has_no_room_for_all(tracked: Tracked, ds: DsCommand) -> None:
    shown, _ = tracked(
        "import argparse\nparser = argparse.ArgumentParser()\n"
        "for n in range(100):\n    parser.add_argument(f'--o{n}', default=n)\n"
        "parser.add_argument('--zlr', type=float, default=0.1)\nparser.parse_args()\n",
        "--zlr",
        "0.5",
    )
    assert len(shown["config"]) == 101
    listed = json.loads(ds("ls", "--json").out)[0]["config"]
    assert listed["zlr"] == 0.5
    assert len(listed) == 64


def test_a_value_of_p_stands_when_the_parser_does_not_know_it(tracked: Tracked) -> None:
    shown, _ = tracked(PARSER, "--epochs=7", options=("-p", "depth=3", "-p", "epochs=1"))
    assert shown["config"]["depth"] == 3
    # What the script really used.
    assert shown["config"]["epochs"] == 7
    assert shown["origins"]["depth"] == "command line"


def test_a_parser_of_subcommands_and_one_before_the_other_are_both_seen(tracked: Tracked) -> None:
    shown, _ = tracked(
        """
import argparse
first = argparse.ArgumentParser(add_help=False)
first.add_argument("--config", default="a.toml")
known, rest = first.parse_known_args()
parser = argparse.ArgumentParser(parents=[first])
commands = parser.add_subparsers(dest="command")
fit = commands.add_parser("fit")
fit.add_argument("--depth", type=int, default=2)
parser.parse_args()
""",
        "fit",
        "--depth",
        "4",
    )
    assert shown["config"] == {"depth": 4, "command": "fit", "config": "a.toml"}
    assert shown["origins"] == {"depth": "argparse", "command": "argparse", "config": "argparse default"}


def test_workers_that_import_the_main_module_again_add_no_settings(tracked: Tracked) -> None:
    shown, _ = tracked(
        """
import argparse, multiprocessing, subprocess, sys
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
options = parser.parse_args(None if __name__ == "__main__" else ["--lr", "9"])
def work(n):
    return n
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(pool.map(work, [1, 2]))
    subprocess.run([sys.executable, "-c", "import argparse; p = argparse.ArgumentParser(); p.add_argument('--other', "
        "default=1); p.parse_args()"], check=True)
""",
        "--lr",
        "0.5",
    )
    assert shown["config"] == {"lr": 0.5}
    assert shown["capture"]["processes"] >= 4


def test_seeds_and_files_are_noted(tracked: Tracked, project: Path) -> None:
    (project / "data.csv").write_text("1,2\n")
    (project / ".gitignore").write_text("data.csv\n")
    shown, done = tracked(
        """
import random, pickle, io, pathlib, copy
import numpy
random.seed(11)
random.seed(12)
numpy.random.seed(13)
class Reader:
    opener = open
assert Reader().opener("data.csv").read() == "1,2\\n"
assert pickle.loads(pickle.dumps(open)) is open and io.open is open and copy.deepcopy(open) is open
assert pathlib.Path("data.csv").read_text() == "1,2\\n"
with open("made.txt", "w") as file:
    print("x", file=file)
print(open.__name__, repr(open))
"""
    )
    assert done.out == f"open {open!r}\n"
    assert shown["seeds"] == {"random": 11, "numpy": 13}
    assert [Path(item["path"]).name for item in shown["data"]] == ["data.csv"]


def test_the_seed_of_pytorch_is_asked_at_the_end(tracked: Tracked) -> None:
    shown, _ = tracked("import torch\ntorch.manual_seed(5)\nfrom torch import nn\nprint(nn.Linear(2, 2))\n")
    assert shown["seeds"] == {"torch": 5}
    assert shown["capture"]["complaints"] == []


def test_a_library_that_only_looks_whether_another_is_there_leaves_it_watched(tracked: Tracked, project: Path) -> None:
    (project / "tensorboardX").mkdir()
    (project / "tensorboardX" / "__init__.py").write_text("from .writer import SummaryWriter\n")
    (project / "tensorboardX" / "writer.py").write_text(
        "class SummaryWriter:\n    logdir = 'runs'\n"
        "    def add_scalar(self, tag, scalar_value, global_step=None, walltime=None):\n        pass\n"
    )
    shown, _ = tracked(
        """
import importlib.util
for _ in range(2):
    assert importlib.util.find_spec("tensorboardX.writer") is not None
from tensorboardX import SummaryWriter
writer = SummaryWriter()
for step in range(3):
    writer.add_scalar("loss", 1 / (step + 1), step)
"""
    )
    assert shown["summary"]["loss"]["count"] == 3
    assert shown["sources"] == {"loss": "hook:tensorboard"}


# It must not be seen.


def without(ds: DsCommand, project: Path) -> CommandResult:
    """The script with nothing of ours around it but the runner."""
    return ds("run", "--no-capture", "script.py")


LOOK = """
import os, sys
print(sorted(name for name in sys.modules if "dstui" in name and not name.startswith("_dstui")))
print([path for path in sys.path if "hook" in path and not path.endswith("fallback")], len(sys.argv))
try:
    import sitecustomize
    print(sitecustomize.__file__.endswith("mine/sitecustomize.py"), sitecustomize.MARK)
except ImportError:
    print("none")
"""


def test_the_user_s_own_sitecustomize_runs_as_ever(tracked: Tracked, project: Path) -> None:
    (project / "mine").mkdir()
    (project / "mine" / "sitecustomize.py").write_text("MARK = 'mine'\nprint('hello')\n")
    shown, done = tracked(LOOK, env={"PYTHONPATH": str(project / "mine")})
    # The first hello is of `ds`, which is a Python too.
    assert done.out == "hello\nhello\n[]\n[] 1\nTrue mine\n"
    assert shown["capture"]["processes"] == 1


def test_a_module_that_cannot_be_found_fails_as_ever(tracked: Tracked) -> None:
    _, done = tracked(
        """
import traceback
for name in ("wandb", "tensorboardX.writer", "no.such"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(error, error.name, len(traceback.extract_tb(error.__traceback__)))
"""
    )
    assert done.out == (
        "No module named 'wandb' wandb 1\nNo module named 'tensorboardX' tensorboardX 1\nNo module named 'no' no 1\n"
    )


@pytest.mark.parametrize("flag", ["-I", "-S", "-E", "-sE"])
def test_a_python_that_cannot_load_the_hook_is_named(ds: DsCommand, project: Path, flag: str) -> None:
    (project / "script.py").write_text("import argparse\nargparse.ArgumentParser().parse_args()\nprint('loss=1')\n")
    assert ds("run", sys.executable, flag, "script.py").code == 0
    shown = json.loads(ds("show", "@", "--json").out)
    assert shown["capture"]["processes"] == 0
    assert f"python was started with {flag}" in shown["capture"]["why"]
    assert "settings and loggers were not seen" in ds("show", "@").out


def test_what_is_switched_off_is_not_looked_at(tracked: Tracked, project: Path) -> None:
    script = PARSER + "import random\nrandom.seed(3)\nprint(open)\n"
    shown, _ = tracked(script, env={"DSTUI_CAPTURE_PARAMS": "off"})
    assert (shown["config"], shown["seeds"]) == ({}, {"random": 3})
    shown, _ = tracked(script, env={"DSTUI_CAPTURE_SEEDS": "off"})
    assert (shown["config"]["epochs"], shown["seeds"]) == (3, {})
    for env, options in (({"DSTUI_CAPTURE": "0"}, ()), ({}, ("--no-capture",)), ({"DSTUI_CAPTURE_HOOK": "off"}, ())):
        shown, done = tracked(script + "import sys\nprint('_dstui' in sys.modules)\n", env=env, options=options)
        assert (shown["config"], shown["seeds"], shown["capture"]["processes"]) == ({}, {}, 0)
        assert done.out.endswith("False\n")


def test_a_run_inside_a_run_has_the_hook_once_and_settings_of_its_own(ds: DsCommand, project: Path) -> None:
    (project / "inner.py").write_text(PARSER)
    (project / "outer.sh").write_text(f"'{sys.executable}' -m dstui run inner.py --epochs 9\n")
    assert ds("run", "sh", "outer.sh").code == 0
    runs = {run["name"].partition(" ")[0]: run for run in json.loads(ds("ls", "--json").out)}
    assert runs["inner"]["config"]["epochs"] == 9
    assert runs["inner"]["parent_run"] == runs["outer"]["id"]
    assert runs["outer"]["config"] == {}


def test_a_file_that_the_stored_code_lacks_is_named(tracked: Tracked, project: Path, ds: DsCommand) -> None:
    (project / ".gitignore").write_text("local.yaml\ndata.bin\n")
    (project / "local.yaml").write_text("lr: 1\n")
    (project / "kept.yaml").write_text("lr: 2\n")
    (project / "data.bin").write_text("0")
    shown, _ = tracked("for name in ('local.yaml', 'kept.yaml', 'data.bin'):\n    open(name).read()\n")
    assert shown["missing_code"] == ["local.yaml"]
    assert "local.yaml: read by the script, not stored with its code" in ds("show", "@").out


def test_a_container_is_told_what_it_needs(ds: DsCommand, project: Path) -> None:
    (project / "docker").write_text("#!/bin/sh\necho inside\n")
    (project / "docker").chmod(0o755)
    said = ds("run", "./docker", "run", "image", "python", "train.py").err
    assert 'docker run -v "$PWD:$PWD" -w "$PWD" -e PYTHONPATH -e DSTUI_RUN_DIR' in said
    assert "inside the container" not in ds("run", "./docker", "ps").err
