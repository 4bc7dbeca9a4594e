"""The walk finds what matters in any tree, and is bounded in all of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dstui.inside import finding
from dstui.inside.finding import Walk, kind_of, list_files

OLD = 1_000_000_000
SINCE = 1_500_000_000.0


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def age(folder: Path) -> None:
    """All folders of a tree look as if nothing has been made in them for long."""
    for path, _, _ in os.walk(folder):
        os.utime(path, (OLD, OLD))


def found(*roots: Path, since: float = SINCE) -> set[str]:
    walk = Walk(map(str, roots), since)
    return {os.path.relpath(path, roots[0]) for path in walk.run()}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("events.out.tfevents.1795546130.host.1.0", "events"),
        ("metrics.csv", "csv"),
        ("log.jsonl", "lines"),
        ("trainer_state.json", "history"),
        ("data.json", None),
        ("metrics.csv.gz", None),
        ("train.py", None),
    ],
)
def test_names_say_what_a_file_may_be(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


def test_environments_and_folders_of_other_tools_are_left_out(tmp_path: Path) -> None:
    skipped = [
        ".git/a.csv",
        ".venv/a.csv",
        "node_modules/a.csv",
        "__pycache__/a.csv",
        "wandb/a.csv",
        "lib/site-packages/a.csv",
    ]
    write(tmp_path, "runs/a.csv", "lightning_logs/v/a.csv", "outputs/a.csv", *skipped)
    write(tmp_path, "environment/pyvenv.cfg", "environment/lib/a.csv", "environment/b.csv")
    assert found(tmp_path) == {"runs/a.csv", "lightning_logs/v/a.csv", "outputs/a.csv"}


def test_only_so_many_levels_are_looked_at(tmp_path: Path) -> None:
    write(tmp_path, "1/2/3/4/5/6/a.csv", "1/2/3/4/5/6/7/b.csv")
    assert found(tmp_path) == {"1/2/3/4/5/6/a.csv"}


def test_links_lead_to_folders_once_and_in_no_circle(tmp_path: Path) -> None:
    write(tmp_path, "project/a.csv", "elsewhere/runs/b.csv")
    project = tmp_path / "project"
    (project / "loop").symlink_to(project)
    (project / "runs").symlink_to(tmp_path / "elsewhere")
    (project / "again").symlink_to(tmp_path / "elsewhere" / "runs")
    (project / "broken").symlink_to(tmp_path / "nowhere")
    (project / "file.csv").symlink_to(project / "a.csv")
    assert len(Walk([str(project)], SINCE).run()) == 2


def test_pipes_and_sockets_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    assert found(tmp_path) == set()
    assert list(list_files(str(tmp_path))) == []


def test_a_folder_of_many_files_hides_no_other(tmp_path: Path) -> None:
    write(tmp_path, *[f"data/{number}.png" for number in range(finding.ENTRIES + 500)], "zzz/run/a.csv")
    age(tmp_path)
    os.utime(tmp_path / "zzz" / "run")
    os.utime(tmp_path / "zzz")
    assert found(tmp_path, since=time.time() - 60) == {"zzz/run/a.csv"}


@pytest.mark.slow
def test_a_walk_is_bounded(tmp_path: Path) -> None:
    write(tmp_path, *[f"data/{folder}/{number}.csv" for folder in range(30) for number in range(100)])
    age(tmp_path)
    assert len(found(tmp_path)) <= finding.ENTRIES
    fresh = Walk([str(tmp_path)], 0.0).run()
    assert len(fresh) == 3_000


def test_a_folder_that_is_gone_is_no_error(tmp_path: Path) -> None:
    assert found(tmp_path / "nowhere") == set()
