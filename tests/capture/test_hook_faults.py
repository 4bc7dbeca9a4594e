"""The hook broken on purpose: output and exit code stay what they are without it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dstui.execution import capture

if TYPE_CHECKING:
    from tests.conftest import DsCommand

pytestmark = [pytest.mark.slow]

SCRIPT = """
import argparse, os, random, sys
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
print(parser.parse_args())
random.seed(1)
print(random.random(), open("script.py").readline() == "\\n", sys.argv)
import logger
print(logger.log(1), logger.Writer().add(2))
try:
    parser.parse_args(["--bad"])
except SystemExit as error:
    print("exit", error.code)
sys.exit(3)
"""

LOGGER = """
def log(value):
    return value + 1

class Writer:
    def add(self, value):
        return value * 2
"""

OUTPUT = """\
Namespace(lr=0.1)
0.13436424411240122 True ['script.py']
2 4
exit 2
"""

FAULTS = {
    "nothing": ("capture/begin.py", "", ""),
    "begin does not parse": ("capture/begin.py", "from __future__", "from from __future__"),
    "begin raises": ("capture/begin.py", "    session = sessions.start(live)\n", "    raise RuntimeError('broken')\n"),
    "session raises": ("capture/session.py", "        self.switches: dict[str, str] = {}\n", "        1 / 0\n"),
    "hello raises": ("capture/session.py", "    def tell(self, line: str", "    def tell_(self, line: str"),
    "patches do not import": ("capture/parsers.py", "import dataclasses\n", "import no_such_module\n"),
    "a patch raises": ("capture/parsers.py", '    for name in ("parse_known_args"', "    for name in (1 / 0,"),
    "a recorder raises": ("capture/parsers.py", "    namespace = result[0]\n", "    namespace = result[7]\n"),
    "a recorder exits badly": ("capture/recorder.py", "    here = session.current\n", "    here = session.no\n"),
    "the journal is broken": ("journal.py", "    def config(\n", "    def konfig(\n"),
    "seeds raise": ("capture/seen.py", "    _seeds[generator] =", "    no_such_name ="),
    "opens raise": ("capture/seen.py", "        self._seen.add(file)\n", "        self._seen.append(file)\n"),
    "opens cannot start": ("capture/seen.py", "    import builtins\n", "    import no_such_module\n"),
    "the finder raises": ("capture/begin.py", "        original = loader.exec_module\n", "        original = 1 / 0\n"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_hook_changes_neither_output_nor_exit_code(
    name: str, ds: DsCommand, project: Path, tmp_path: Path
) -> None:
    (project / "script.py").write_text(SCRIPT)
    (project / "logger.py").write_text(LOGGER)
    ds("init")
    store = next((project / ".git").glob("ds/*"))
    folder = capture.install(store / "hook")
    where, right, wrong = FAULTS[name]
    path = folder / "_dstui" / where
    text = path.read_text()
    assert right in text
    path.chmod(0o600)
    path.write_text(text.replace(right, wrong, 1))
    done = ds("run", "script.py")
    assert (done.out, done.code) == (OUTPUT, 3)
    assert "Traceback" not in done.err
    assert done.err.count("error: unrecognized arguments: --bad") == 1
    if name == "nothing":
        assert json.loads(ds("show", "@", "--json").out)["config"] == {"lr": 0.1}
    if name == "a recorder raises":
        assert "IndexError" in json.loads(ds("show", "@", "--json").out)["capture"]["complaints"][0]


def test_the_output_is_that_of_the_script_alone(ds: DsCommand, project: Path) -> None:
    (project / "script.py").write_text(SCRIPT)
    (project / "logger.py").write_text(LOGGER)
    assert ds("run", "--no-capture", "script.py").out == OUTPUT


def test_a_live_folder_that_vanishes_is_no_business_of_the_script(ds: DsCommand, project: Path) -> None:
    (project / "script.py").write_text(
        "import os, shutil\n"
        "live = os.environ['DSTUI_RUN_DIR']\n"
        "os.rename(live, live + '.gone')\n"
        + SCRIPT.replace("sys.exit(3)", "os.rename(live + '.gone', live); sys.exit(3)")
    )
    (project / "logger.py").write_text(LOGGER)
    done = ds("run", "script.py")
    assert (done.out, done.code) == (OUTPUT.replace("True", "False"), 3)


def test_a_hook_that_cannot_record_says_nothing_when_pytorch_is_asked_at_the_end(ds: DsCommand, project: Path) -> None:
    (project / "script.py").write_text("import torch\ntorch.manual_seed(3)\nprint('done')\n")
    ds("init")
    recorder = capture.install(next((project / ".git").glob("ds/*")) / "hook") / "_dstui" / "capture" / "recorder.py"
    recorder.chmod(0o600)
    recorder.write_text("import no_such_module\n")
    done = ds("run", "script.py")
    assert (done.out, done.code) == ("done\n", 0)
    assert "no_such_module" not in done.err


def test_a_store_that_cannot_take_the_hook_says_how_to_go_on(ds: DsCommand, project: Path) -> None:
    (project / "script.py").write_text("print(1)\n")
    assert ds("run", "script.py").code == 0
    hook = next((project / ".git").glob("ds/*/hook"))
    shutil.rmtree(hook)
    hook.write_text("in the way")
    done = ds("run", "script.py")
    assert done.code == 125
    assert "--no-capture" in done.err
    assert "Traceback" not in done.err
    assert ds("run", "--no-capture", "script.py").out == "1\n"
