"""Settings of Hydra, tyro and jsonargparse, against what each of them says itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.frameworks.conftest import Run


@pytest.fixture
def conf(project: Path) -> None:
    """A folder of Hydra's settings."""
    for name, text in {
        "config.yaml": "defaults:\n  - optimizer: adam\n  - _self_\nepochs: 3\ndouble: ${epochs}\nsizes: [1, 2]\n",
        "optimizer/adam.yaml": "name: adam\nlr: 0.1\nbetas: [0.9, 0.99]\n",
        "optimizer/sgd.yaml": "name: sgd\nlr: 0.5\nmomentum: 0.9\n",
    }.items():
        (project / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "conf" / name).write_text(text)


@pytest.mark.usefixtures("conf")
def test_hydra(run: Run) -> None:
    tracked = run("hydra_app.py", "optimizer=sgd", "epochs=4", "+new.key=x")
    assert tracked.config == {
        "epochs": 4,
        "new.key": "x",
        "optimizer.name": "sgd",
        "optimizer.lr": 0.5,
        "optimizer.momentum": 0.9,
        "double": 4,
        "sizes": [1, 2],
    }
    origins = tracked.show["origins"]
    assert (origins["epochs"], origins["new.key"], origins["optimizer.lr"]) == ("hydra", "hydra", "hydra default")


@pytest.mark.usefixtures("conf")
def test_hydra_that_changes_its_folder(run: Run) -> None:
    tracked = run("hydra_app.py", "hydra.job.chdir=true", "optimizer.lr=0.25")
    assert tracked.config["optimizer.lr"] == 0.25
    assert "hydra.job.chdir" not in tracked.config


def test_a_dataclass_of_tyro(run: Run) -> None:
    tracked = run("tyro_app.py", "dataclass", "--optimizer.lr", "0.5", "--kind", "LARGE")
    assert tracked.config == {
        "optimizer.lr": 0.5,
        "kind": "large",
        "optimizer.betas": [0.9, 0.999],
        "epochs": 3,
        "out": "out",
    }
    assert tracked.show["origins"]["optimizer.lr"] == "tyro"
    assert tracked.show["origins"]["epochs"] == "tyro default"


def test_a_function_of_tyro(run: Run) -> None:
    tracked = run("tyro_app.py", "function", "--epochs", "7")
    assert tracked.config == {"epochs": 7, "width": 16, "use_bias": True}


def test_jsonargparse(run: Run) -> None:
    tracked = run("jsonargparse_app.py", "--epochs", "7", "--optimizer.lr=0.5")
    assert tracked.config == {"epochs": 7, "optimizer.lr": 0.5, "optimizer.momentum": 0.9, "name": "x"}
    assert tracked.show["origins"]["optimizer.momentum"] == "argparse default"
