"""`--once`: one page as text, without an app."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dstui.errors import RunNotFound, UsageError
from dstui.tui import once
from dstui.tui.start import run_dashboard

if TYPE_CHECKING:
    from dstui_store import Store
    from tests.conftest import DsCommand


def printed(capfdbinary: pytest.CaptureFixture[bytes], page: str, start: Path, **options: bool) -> str:
    assert run_dashboard(once=page, start=start, **options) == 0
    return capfdbinary.readouterr().out.decode()


def test_the_overview_lists_recent_runs(store: Store, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    lines = printed(capfdbinary, "overview", store.layout.project).splitlines()
    assert lines[0].strip() == "Recent runs of 4"
    assert [line.split()[1] for line in lines if "#" in line] == ["#4", "failed", "#2", "#1"] or "broken" in "".join(
        lines
    )
    assert max(map(len, lines)) <= 120


def test_the_runs_page_says_how_many_more_there_are(
    store: Store, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "RUN_ROWS", 3)
    lines = printed(capfdbinary, "runs", store.layout.project).splitlines()
    assert lines[0].strip() == "Runs  4"
    assert sum("#" in line for line in lines) == 3
    assert "… 1 more" in lines[-1]


def test_a_run_s_page_has_its_facts_charts_config_and_output(
    store: Store, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    run = next(record.id for record in store.records() if record.name == "train lr=0.2")
    text = printed(capfdbinary, f"run:{run[:6]}", store.layout.project)
    for part in ("train lr=0.2", "━ val", "cifar", "Log  last 4 of 4 lines", "loading 100%", "tester on testhost"):
        assert part in text
    assert any("\u2801" <= character <= "\u28ff" for character in text)


def test_ascii_pages_are_ascii(store: Store, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    run = next(record.id for record in store.records() if record.name == "train lr=0.2")
    for page in ("overview", "runs", f"run:{run}"):
        assert printed(capfdbinary, page, store.layout.project, ascii_only=True).isascii()


def test_the_width_comes_from_the_environment_without_a_terminal(
    store: Store, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("os.get_terminal_size", lambda _: (_ for _ in ()).throw(OSError()))
    lines = printed(capfdbinary, "runs", store.layout.project).splitlines()
    assert 40 < max(map(len, lines)) <= 60


def test_an_empty_project_says_what_to_type(project: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert "ds run train.py" in printed(capfdbinary, "overview", project)


def test_what_cannot_be_read_in_time_is_left_out_and_said_by_the_exit_code(
    store: Store, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "SECONDS", 0.0)
    assert run_dashboard(once="runs", start=store.layout.project) == 1
    assert capfdbinary.readouterr().out == b""


def test_an_unknown_page_or_run_is_an_error(store: Store) -> None:
    for page in ("gpus", "run:", ""):
        with pytest.raises(UsageError, match="There is no page"):
            run_dashboard(once=page, start=store.layout.project)
    with pytest.raises(RunNotFound):
        run_dashboard(once="run:nothing", start=store.layout.project)


@pytest.mark.slow
def test_the_command_line_prints_a_page_and_names_the_pages(store: Store, ds: DsCommand) -> None:
    done = ds("--once", "runs", cwd=store.layout.project)
    assert (done.code, "train lr=0.1" in done.out, done.err) == (0, True, "")
    wrong = ds("--once", "nothing", cwd=store.layout.project)
    assert wrong.code == 2
    assert "`run:RUN`" in wrong.err
    no_terminal = ds(cwd=store.layout.project)
    assert no_terminal.code == 2
    assert "dstui --once runs" in no_terminal.err
