"""What a training script sees: it can log whatever it has, and is never harmed by it."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dstui
from dstui.inside import client, values
from dstui_store import journal

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A client as at the start of a process; `sys.exit` and `sys.excepthook` as they were."""
    for name, value in (
        ("_run", None),
        ("_write", None),
        ("_outside_told", False),
        ("_crash", None),
        ("_hooked", True),
    ):
        monkeypatch.setattr(client, name, value)
    monkeypatch.setattr(values, "_refused", set())
    yield
    if client._run is not None and client._run._journal is not None:
        client._run._journal.close()


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The live directory of a run that this process is in."""
    folder = tmp_path / "live"
    folder.mkdir()
    monkeypatch.setenv("DSTUI_RUN_DIR", str(folder))
    monkeypatch.setenv("DSTUI_RUN_ID", "k3f9c0123456789a")
    return folder


def points(live: Path) -> dict[str, list[float]]:
    return {name: series.value.tolist() for name, series in journal.read(live / "journal").series().items()}


def settings(live: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for path in sorted((live / "journal").glob("*.config")):
        for line in path.read_text().splitlines():
            values.update(json.loads(line)["values"])
    return values


def run_script(script: str, folder: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder of its own: Python looks for `dstui` in the present one first."""
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# Values


@pytest.mark.parametrize(
    ("value", "logged"),
    [
        (0.5, 0.5),
        (3, 3.0),
        (True, 1.0),
        (2**53, 2.0**53),
        (-(2**53), -(2.0**53)),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int64(7), 7.0),
        (np.uint8(7), 7.0),
        (np.bool_(True), 1.0),
        (np.array(0.5), 0.5),
        (np.array([[0.5]]), 0.5),
        (torch.tensor(0.5), 0.5),
        (torch.tensor([[2]]), 2.0),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        (torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
        (torch.tensor(True), 1.0),
        (Decimal("0.5"), 0.5),
        (float("inf"), float("inf")),
    ],
    ids=repr,
)
def test_every_kind_of_number_is_logged(
    live: Path, capsys: pytest.CaptureFixture[str], value: Any, logged: float
) -> None:
    dstui.log({"x": value})
    assert points(live) == {"x": [logged]}
    assert capsys.readouterr().err == ""


def test_nan_is_kept_bit_for_bit(live: Path) -> None:
    payload = np.array([0x7FF8_0000_DEAD_BEEF], np.uint64).view(np.float64)
    dstui.log({"a": float(payload[0]), "b": payload, "c": np.nan, "d": torch.tensor(float("nan"))})
    series = journal.read(live / "journal").series()
    assert series["a"].value.tobytes() == series["b"].value.tobytes() == payload.tobytes()
    assert np.isnan([series["c"].value[0], series["d"].value[0]]).all()


class Hostile:
    """Raises wherever it is touched."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None"),
        ("0.5", "text"),
        (b"0.5", "text"),
        (1 + 2j, "complex"),
        (np.complex128(1), "complex"),
        (2**53 + 1, "2**53"),
        (np.int64(2**53 + 1), "2**53"),
        (np.zeros((3, 4)), "shape (3, 4)"),
        (torch.zeros(3), "shape (3,)"),
        (np.array([]), "shape (0,)"),
        (np.datetime64("2024-01-05"), "date"),
        ([0.5], "list"),
        (object(), "an object"),
        (Decimal("sNaN"), "Decimal"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:12],
)
def test_what_is_no_number_is_refused_once_by_name(
    live: Path, capsys: pytest.CaptureFixture[str], value: Any, words: str
) -> None:
    for _ in range(3):
        dstui.log({"good": 1.0, "bad": value}, step=1)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "`bad`" in told
    assert words in told
    assert points(live) == {"good": [1.0] * 3}
    assert (live / "journal" / f"0-{os.getpid()}.keys").read_text() == '"good"\n'


def test_nested_dicts_get_dotted_names(live: Path) -> None:
    dstui.log({"train": {"loss": 0.5, "top": {1: 0.25}}, "lr": 0.1}, step=3)
    assert points(live) == {"train.loss": [0.5], "train.top.1": [0.25], "lr": [0.1]}


def test_dict_that_holds_itself_does_not_end_the_training(live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endless: dict[str, Any] = {"loss": 0.5}
    endless["again"] = endless
    dstui.log(endless)
    assert points(live)["loss"] == [0.5]
    assert "nested" in capsys.readouterr().err


@pytest.mark.parametrize("values", [0.5, "loss", None, ["loss"], [("loss", 0.5)], {1.5: 0.5}, {None: 0.5}])
def test_call_with_something_else_than_a_dict_of_names(
    live: Path, capsys: pytest.CaptureFixture[str], values: Any
) -> None:
    dstui.log(values)
    dstui.log(values)
    assert points(live) == {}
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("step", "kept"), [(5, 5), (5.0, 5), (np.int32(5), 5), (torch.tensor(5), 5), (True, 1), (-3, -3)]
)
def test_steps_of_every_integer_kind(live: Path, capsys: pytest.CaptureFixture[str], step: Any, kept: int) -> None:
    dstui.log({"x": 1.0}, step=step)
    assert journal.read(live / "journal").series()["x"].step.tolist() == [kept]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("step", [1.5, "5", float("nan"), 2**63, -(2**63) - 1, [5], np.zeros(3)])
def test_step_that_is_no_integer_is_refused_but_not_its_values(
    live: Path, capsys: pytest.CaptureFixture[str], step: Any
) -> None:
    for _ in range(2):
        dstui.log({"x": 1.0}, step=step)
    assert journal.read(live / "journal").series()["x"].step.tolist() == [0, 1]
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "`step`" in told


def test_object_that_raises_wherever_it_is_touched(live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile: Any = Hostile()
    dstui.log({"good": 1.0, "bad": hostile}, step=hostile)
    dstui.log(hostile)
    dstui.config({"bad": hostile})
    assert points(live) == {"good": [1.0]}
    assert capsys.readouterr().err.count("\n") == 3


def test_step_may_go_back(live: Path) -> None:
    for step in (10, 20, 5):
        dstui.log({"x": 1.0}, step=step)
    assert journal.read(live / "journal").series()["x"].step.tolist() == [10, 20, 5]


def test_refused_names_do_not_fill_the_log(live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1_000):
        dstui.log({f"bad {number}": None})
    assert capsys.readouterr().err.count("\n") == values.REFUSALS_TOLD + 1
    assert points(live) == {}


def test_control_bytes_of_a_name_do_not_reach_the_terminal(live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dstui.log({"\x1b[2J\u202e": None})
    assert capsys.readouterr().err.replace("\n", "").isprintable()
    assert live.exists()


def test_closed_stderr_is_no_reason_to_fail(live: Path) -> None:
    script = """
import sys, dstui
sys.stderr.close()
dstui.log({"x": None, "y": 1})
sys.stderr = None
dstui.log({"z": None})
"""
    done = run_script(script, live.parent, {"DSTUI_RUN_DIR": str(live)})
    assert done.returncode == 0
    assert points(live) == {"y": [1.0]}


# Joining and starting


def test_log_outside_a_run_records_nothing_and_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        dstui.log({"loss": 0.5})
        dstui.config({"lr": 0.1})
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "ds run" in told
    assert list(tmp_path.iterdir()) == []


def test_run_that_has_ended_is_not_joined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell inside `ds run` may outlive it."""
    monkeypatch.setenv("DSTUI_RUN_DIR", str(tmp_path / "gone"))
    dstui.log({"loss": 0.5})
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "gone").exists()


def test_init_joins_and_gives_the_same_run_again(live: Path) -> None:
    run = dstui.init(config={"lr": 0.1})
    assert run.id == "k3f9c0123456789a"
    assert dstui.init() is run
    run.log({"loss": 0.5})
    dstui.log({"loss": 0.25})
    run.finish()
    dstui.log({"loss": 0.125})
    assert points(live) == {"loss": [0.5, 0.25, 0.125]}
    assert not (live / "finish.json").exists()


@dataclass
class Options:
    lr: float = 0.1
    layers: int = 3


@pytest.mark.parametrize(
    "config",
    [{"lr": 0.1, "layers": 3}, argparse.Namespace(lr=0.1, layers=3), Options()],
    ids=["dict", "argparse", "dataclass"],
)
def test_config_of_every_kind(live: Path, config: Any) -> None:
    run = dstui.init(config=config)
    assert run.config == {"lr": 0.1, "layers": 3}
    assert settings(live) == {"lr": 0.1, "layers": 3}


def test_params_of_the_run_stand_over_the_scripts_defaults(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.json").write_text('{"lr": 0.5, "model.depth": 9, "new": "x"}')
    monkeypatch.setenv("DSTUI_PARAMS_FILE", str(tmp_path / "params.json"))
    run = dstui.init(config={"lr": 0.1, "model": {"depth": 3, "width": 8}})
    assert run.config == {"lr": 0.5, "model": {"depth": 9, "width": 8}, "new": "x"}
    assert settings(live) == {"lr": 0.5, "model.depth": 9, "model.width": 8, "new": "x"}
    run.config.update({"lr": 0.2, "batch": 32})
    run.config["seed"] = 1
    assert run.config["lr"] == 0.5
    assert settings(live) == {"lr": 0.5, "model.depth": 9, "model.width": 8, "new": "x", "batch": 32, "seed": 1}


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_broken_params_file_does_not_end_the_training(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "params.json").write_text(content)
    monkeypatch.setenv("DSTUI_PARAMS_FILE", str(tmp_path / "params.json"))
    assert dstui.init(config={"lr": 0.1}).config == {"lr": 0.1}
    assert live.exists()


def test_config_is_recorded_once_and_changes_only(live: Path) -> None:
    dstui.config({"lr": 0.1, "deep": {"list": [1, 2], "none": None, "nan": float("nan"), "object": {1, 2} - {2}}})
    dstui.config({"lr": 0.1})
    dstui.config({"lr": 0.2})
    lines = [json.loads(line) for path in (live / "journal").glob("*.config") for line in path.read_text().splitlines()]
    assert [line["values"] for line in lines] == [
        {"lr": 0.1, "deep.list": [1, 2], "deep.none": None, "deep.nan": "NaN", "deep.object": "{1}"},
        {"lr": 0.2},
    ]


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("hf_token", "hf_abcdefghijkl", False),
        ("wandb.api_key", "0123456789abcdef", False),
        ("apiKey", "0123456789abcdef", False),
        ("db_password", "x", False),
        ("AWS_SECRET_ACCESS_KEY", "abc", False),
        ("credentials", "abc", False),
        ("pad_token", "[PAD]", True),
        ("eos_token", "<|endoftext|>", True),
        ("max_tokens", 512, True),
        ("tokenizer", "bert-base-uncased", True),
        ("token", 5, True),
        ("key", "value", True),
        ("monkey", "value", True),
    ],
)
def test_secrets_in_settings_are_not_stored(live: Path, key: str, value: Any, stored: bool) -> None:
    run = dstui.init(config={key: value})
    assert run.config[key] == value
    assert settings(live) == {key: value if stored else values.MASKED}


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"])
def test_other_ranks_write_journals_of_their_own_and_no_settings(
    live: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "2")
    dstui.init(config={"lr": 0.1})
    dstui.log({"loss": 0.5})
    assert [path.name for path in (live / "journal").glob("*.dsj")] == [f"2-{os.getpid()}.dsj"]
    assert settings(live) == {}


def test_name_experiment_and_tags_inside_a_run_are_left_for_its_keeper(live: Path) -> None:
    dstui.init(name="n", experiment="e", tags=["a", "b"])
    line = json.loads(next((live / "journal").glob("*.config")).read_text())
    assert line["run"] == {"name": "n", "experiment": "e", "tags": ["a", "b"]}
    assert line["values"] == {}


def test_threads_that_log_first_at_the_same_time_join_one_run(live: Path) -> None:
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        for _ in range(100):
            dstui.log({"x": 1.0})

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(points(live)["x"]) == 800
    assert len(list((live / "journal").glob("*.dsj"))) == 1


BEGIN = """
import json, os, sys
live = os.path.join(os.environ["LIVE_ROOT"], str(len(os.listdir(os.environ["LIVE_ROOT"]))))
os.makedirs(live)
with open(os.path.join(live, "arguments.json"), "w") as file:
    json.dump(sys.argv[1:], file)
print(json.dumps({"run": "0123456789abcdef", "live": live}), flush=True)
"""


@pytest.fixture
def outside(tmp_path: Path) -> dict[str, str]:
    """Environment of a script outside `ds run`, whose runs begin with a stand-in for `dstui.execution.begin`."""
    package = tmp_path / "site" / "dstui"
    (package / "execution").mkdir(parents=True)
    (package / "__init__.py").write_bytes((ROOT / "dstui" / "__init__.py").read_bytes())
    (package / "inside").symlink_to(ROOT / "dstui" / "inside")
    (package / "execution" / "__init__.py").touch()
    (package / "execution" / "begin.py").write_text(BEGIN)
    (tmp_path / "runs").mkdir()
    return {"PYTHONPATH": str(tmp_path / "site"), "LIVE_ROOT": str(tmp_path / "runs")}


def ends(tmp_path: Path) -> list[dict[str, Any] | None]:
    return [
        json.loads((run / "finish.json").read_text()) if (run / "finish.json").exists() else None
        for run in sorted((tmp_path / "runs").iterdir())
    ]


CHILD = "import os\nif os.fork() == 0: raise SystemExit\nos.wait()"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "code", "end"),
    [
        ("", 0, {"exit_code": 0, "state": "finished", "stop_reason": None}),
        ("run.finish()", 0, {"exit_code": 0, "state": "finished", "stop_reason": None}),
        ("run.finish(3)", 0, {"exit_code": 3, "state": "failed", "stop_reason": None}),
        ("import sys; sys.exit(4)", 4, {"exit_code": 4, "state": "failed", "stop_reason": None}),
        ("import sys; sys.exit('words')", 1, {"exit_code": 1, "state": "failed", "stop_reason": None}),
        ("1 / 0", 1, {"exit_code": 1, "state": "failed", "stop_reason": "ZeroDivisionError"}),
        ("raise KeyboardInterrupt", -2, {"exit_code": 130, "state": "stopped", "stop_reason": "interrupted"}),
        ("import os; os._exit(5)", 5, None),
        (CHILD, 0, {"exit_code": 0, "state": "finished", "stop_reason": None}),
    ],
    ids=["end", "finish", "finish 3", "exit 4", "exit words", "crash", "interrupt", "gone", "child"],
)  # fmt: skip
def test_end_of_a_run_that_init_started(
    tmp_path: Path, outside: dict[str, str], script: str, code: int, end: dict[str, Any] | None
) -> None:
    done = run_script(
        f"import dstui\nrun = dstui.init(config={{'lr': 1}})\nrun.log({{'loss': 0.5}})\n{script}", tmp_path, outside
    )
    assert done.returncode == code, done.stderr
    assert ends(tmp_path) == [end]
    assert points(tmp_path / "runs" / "0") == {"loss": [0.5]}
    assert settings(tmp_path / "runs" / "0") == {"lr": 1}


@pytest.mark.slow
def test_second_init_finishes_the_first_run_and_starts_another(tmp_path: Path, outside: dict[str, str]) -> None:
    script = """
import dstui, os
first = dstui.init(name="one", experiment="e", tags=["a", "b"])
dstui.log({"loss": 1.0})
second = dstui.init(name="two")
dstui.log({"loss": 2.0})
first.log({"loss": 3.0})
assert os.environ["DSTUI_RUN_DIR"] == second.directory
dstui.finish()
assert "DSTUI_RUN_DIR" not in os.environ
dstui.log({"loss": 4.0})
"""
    done = run_script(script, tmp_path, outside)
    assert done.returncode == 0, done.stderr
    assert [end and end["state"] for end in ends(tmp_path)] == ["finished", "finished"]
    assert points(tmp_path / "runs" / "0") == {"loss": [1.0]}
    assert points(tmp_path / "runs" / "1") == {"loss": [2.0]}
    arguments = json.loads((tmp_path / "runs" / "0" / "arguments.json").read_text())
    assert arguments[:1] == ["--pid"]
    assert arguments[2:] == ["--name", "one", "--experiment", "e", "--tag", "a", "--tag", "b"]
    assert done.stderr.count("\n") == 2  # A point after its run, and one without a run.


@pytest.mark.slow
def test_worker_processes_join_the_run_that_init_started(tmp_path: Path, outside: dict[str, str]) -> None:
    script = """
import subprocess, sys, dstui
dstui.init()
subprocess.run([sys.executable, "-c", "import dstui; dstui.log({'in worker': 1.0}); dstui.finish(9)"], check=True)
dstui.log({"loss": 1.0})
"""
    done = run_script(script, tmp_path, outside)
    assert (done.returncode, done.stderr) == (0, "")
    assert points(tmp_path / "runs" / "0") == {"in worker": [1.0], "loss": [1.0]}
    assert ends(tmp_path) == [{"exit_code": 0, "state": "finished", "stop_reason": None}]


@pytest.mark.slow
@pytest.mark.parametrize(
    "begin",
    ["raise SystemExit('no room')", "print('no json')", "print('[]')", "print('{}')", "pass", "import os; os.close(1)"],
)
def test_run_that_cannot_start_is_said_once_and_the_training_goes_on(
    tmp_path: Path, outside: dict[str, str], begin: str
) -> None:
    (tmp_path / "site" / "dstui" / "execution" / "begin.py").write_text(begin)
    done = run_script(
        "import dstui\nrun = dstui.init()\nrun.log({'a': 1})\ndstui.log({'a': 1})\nprint(run.id)", tmp_path, outside
    )
    assert (done.returncode, done.stdout) == (0, "None\n")
    assert done.stderr.count("dstui: ") == 1
    assert "ds run" in done.stderr


# The package


HEAVY = "textual typer git pyarrow skopt torch numpy scipy sklearn pandas subprocess asyncio".split()


def test_import_loads_the_standard_library_only(tmp_path: Path) -> None:
    script = f"import sys, dstui; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run_script(script, tmp_path).stdout == "[]\n"


def test_all_is_true_and_late_names_are_known() -> None:
    assert set(dstui.__all__) <= set(dir(dstui))
    for name in ("init", "log", "config", "finish", "Run", "__version__"):
        assert name in dstui.__all__
        assert getattr(dstui, name) is not None
    with pytest.raises(AttributeError, match="no attribute `nothing`"):
        _ = dstui.nothing


def test_the_files_run_by_path_too(live: Path) -> None:
    """As a run's Python sees them where dstui is not installed."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'dstui' / 'inside')!r}); import client; client.log({{'x': 1.0}})"
    )
    done = run_script(script, live.parent, {"DSTUI_RUN_DIR": str(live), "PYTHONPATH": ""})
    assert (done.returncode, done.stderr) == (0, "")
    assert points(live) == {"x": [1.0]}
