"""Real frameworks in an environment of their own, where dstui is not installed: `make test-frameworks`.

A program of `programs/` runs under the real `ds run`, as it is, with that environment's Python first on `PATH`. What
`ds show` and `ds metrics` say afterwards is compared with what the framework wrote by itself, read by its own reader
(`truth.py`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import CommandResult, DsCommand

HERE = Path(__file__).parent
ENVIRONMENT = Path(os.environ.get("FRAMEWORKS", HERE.parents[1] / ".frameworks"))
"""Made by `make test-frameworks`."""

TIMEOUT_SECONDS = 300
"""Of one program; TensorFlow alone takes 20 s to start on a busy machine."""

Points = list[tuple[int, Any]]
Curves = dict[str, Points]


@dataclass(frozen=True)
class Tracked:
    """One run: `ds show --json`, the metrics by name as (step, value), and what the command wrote."""

    show: dict[str, Any]
    metrics: Curves
    done: CommandResult
    folder: Path

    @property
    def config(self) -> dict[str, Any]:
        """The settings."""
        return dict(self.show["config"])

    def sources(self) -> set[str]:
        """Where the metrics come from."""
        return set(self.show["sources"].values())


Run = Callable[..., Tracked]
Truth = Callable[..., Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lies here needs the frameworks."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.frameworks)
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS * 2))


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter that has the frameworks, and not dstui."""
    path = ENVIRONMENT / "bin" / "python"
    if not path.exists():
        pytest.fail(f"`{path}` is missing; run `make test-frameworks`, which makes it")
    done = subprocess.run([path, "-c", "import dstui"], capture_output=True, check=False, cwd="/")
    assert done.returncode != 0, f"dstui must not be installed in {ENVIRONMENT}"
    return path


@pytest.fixture
def outside(python: Path) -> dict[str, str]:
    """Variables that put that interpreter first and keep all frameworks off the network."""
    return {
        "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "CUDA_VISIBLE_DEVICES": "",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


@pytest.fixture
def run(ds: DsCommand, project: Path, outside: dict[str, str]) -> Run:
    """`run("program.py", "--lr", "1")`: track a program of `programs/`, which ends well."""

    def start(
        name: str,
        *words: str | Path,
        env: Mapping[str, str] | None = None,
        options: tuple[str, ...] = (),
        command: tuple[str, ...] | None = None,
    ) -> Tracked:
        shutil.copy(HERE / "programs" / name, project / name)
        environment = {**outside, **(env or {})}
        done = ds("run", *options, *(command or (name,)), *words, env=environment, timeout_seconds=TIMEOUT_SECONDS)
        assert done.code == 0, f"{done.out[-3000:]}\n{done.err[-3000:]}"
        show = json.loads(ds("show", "@", "--json").out)
        assert show["capture"]["complaints"] == []
        return Tracked(show, curves_of(json.loads(ds("metrics", "@", "--json").out)), done, project)

    return start


@pytest.fixture
def truth(python: Path, outside: dict[str, str]) -> Truth:
    """`truth("events", folder)`: what the framework's own reader finds there."""

    def read(kind: str, folder: Path) -> Any:
        done = subprocess.run(
            [python, HERE / "truth.py", kind, folder],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
            env={**os.environ, **outside, "PYTHONWARNINGS": "ignore"},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return read


@pytest.fixture
def plainly(project: Path, outside: dict[str, str]) -> Callable[..., None]:
    """Run a program of `programs/` without `ds`, as its author does."""

    def start(name: str, *words: str | Path, env: Mapping[str, str] | None = None) -> None:
        shutil.copy(HERE / "programs" / name, project / name)
        done = subprocess.run(
            ["python", name, *map(str, words)],
            cwd=project,
            env={**os.environ, **outside, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    return start


def curves_of(said: dict[str, dict[str, list[Any]]]) -> Curves:
    """Metrics as `ds metrics --json` says them, by name as (step, value)."""
    return {name: list(zip(one["step"], one["value"], strict=True)) for name, one in said.items()}


def assert_same(found: Mapping[str, Points], expected: Mapping[str, Any], digits: float = 1e-6) -> None:
    """The same names, and for each the same steps and values in order; event files hold 32-bit floats."""
    assert sorted(found) == sorted(expected)
    for name, points in expected.items():
        assert [step for step, _ in found[name]] == [step for step, _ in points], name
        for (step, mine), (_, theirs) in zip(found[name], points, strict=True):
            same = mine == theirs if isinstance(theirs, str) else mine == pytest.approx(theirs, rel=digits)
            assert same, f"{name} at {step}: {mine} is not {theirs}"
