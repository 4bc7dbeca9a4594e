"""What each door loads before it is useful, seen in a process of its own: an import linter cannot see late imports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import DsCommand

INSIDE = Path(__file__).parents[2] / "dstui" / "inside"

HEAVY = frozenset({"git", "numpy", "pyarrow", "scipy", "skopt", "sklearn", "textual", "torch"})
"""Top-level modules that no quick command may load."""

MODULES_OF_A_COMMAND = """
import json, sys
from dstui.cli import main
sys.argv = ["ds", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert end.code in (0, None), end.code
sys.stderr.write("\\nMODULES " + json.dumps(sorted(sys.modules)))
"""

MODULES_WHEN_THE_KEEPER_STARTS = """
import json, os, sys

seen = False
def watch(event, arguments):
    global seen
    starts = event in ("subprocess.Popen", "os.posix_spawn", "os.exec")
    if starts and not seen and "keeper.py" in repr(arguments):
        seen = True
        os.write(2, ("\\nMODULES " + json.dumps(sorted(sys.modules)) + "\\n").encode())

sys.addaudithook(watch)
from dstui.cli import main
sys.argv = ["ds", *sys.argv[1:]]
main()
"""

MODULES_OF_A_FILE_RUN_BY_PATH = """
import importlib, json, sys
folder, name = sys.argv[1:]
sys.path.insert(0, folder)
importlib.import_module(name)
sys.stderr.write("\\nMODULES " + json.dumps(sorted(sys.modules)))
"""

MODULES_OF_A_SCRIPT = """
import json, sys
import dstui
if "log" in sys.argv:
    dstui.log({"loss": 0.5}, step=1)
sys.stderr.write("\\nMODULES " + json.dumps(sorted(sys.modules)))
"""


def loaded_top_level_modules(code: str, arguments: Sequence[str], cwd: Path, options: Sequence[str] = ()) -> set[str]:
    """Top-level names in `sys.modules`, as the code writes them to stderr."""
    done = subprocess.run(
        [sys.executable, *options, "-c", code, *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("MODULES ")]
    assert lines, f"`{arguments}` wrote no list of modules: {done.stdout}\n{done.stderr}"
    return {name.partition(".")[0] for name in json.loads(lines[0].removeprefix("MODULES "))}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["status"]], ids=" ".join)
def test_a_quick_command_loads_nothing_heavy(arguments: list[str], project: Path) -> None:
    loaded = loaded_top_level_modules(MODULES_OF_A_COMMAND, arguments, project)
    assert "typer" in loaded
    assert not loaded & HEAVY


@pytest.mark.slow
def test_ds_run_loads_nothing_heavy_before_its_command_runs(project: Path) -> None:
    assert not loaded_top_level_modules(MODULES_WHEN_THE_KEEPER_STARTS, ["run", "true"], project) & HEAVY


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["log"]], ids=["import", "log"])
def test_a_script_that_imports_dstui_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    assert not loaded_top_level_modules(MODULES_OF_A_SCRIPT, arguments, tmp_path) & {*HEAVY, "typer", "click", "rich"}


@pytest.mark.parametrize("name", sorted(path.stem for path in INSIDE.glob("*.py") if path.stem != "__init__"))
def test_what_runs_inside_a_training_process_loads_the_standard_library_only(name: str, tmp_path: Path) -> None:
    loaded = loaded_top_level_modules(MODULES_OF_A_FILE_RUN_BY_PATH, [str(INSIDE), name], tmp_path, ["-I", "-S"])
    assert loaded <= {*sys.stdlib_module_names, *(path.stem for path in INSIDE.glob("*.py")), "__main__"}


@pytest.mark.slow
def test_the_dashboard_shows_its_first_frame_without_the_store_s_heavy_libraries(project: Path, ds: DsCommand) -> None:
    assert ds("run", "train.py").code == 0
    loaded = loaded_top_level_modules(MODULES_OF_A_COMMAND, ["--once", "runs"], project)
    assert "textual" in loaded
    assert not loaded & {"torch", "skopt", "sklearn", "scipy", "pyarrow", "git"}
