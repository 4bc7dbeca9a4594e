"""The dashboard as a user meets it, in a test terminal over a real store."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dstui.inside.journal import JournalWriter
from dstui.sdk.views.data import ChartsRequest
from dstui.tui.pages.run import RunPage
from dstui.tui.pages.runs import RunsPage
from dstui.tui.state import Kept, Layout
from dstui.tui.theme import ASCII, PLAIN, Look
from tests.store.ended_runs import begun_run, exit_record, write_state

if TYPE_CHECKING:
    from dstui_store import Store
    from tests.tui.conftest import Opened, Session


def runs_page(session: Session) -> RunsPage:
    page = session.app.page
    assert isinstance(page, RunsPage)
    return page


def run_page(session: Session) -> RunPage:
    page = session.app.page
    assert isinstance(page, RunPage)
    return page


def names(session: Session) -> list[str]:
    """Names of the runs in the table, as they stand."""
    page = session.app.page
    snapshot = page.snapshot if isinstance(page, RunsPage) else None
    return [] if snapshot is None else [str(snapshot.lines[row].name) for row in snapshot.order.tolist()]


def under_cursor(session: Session) -> str:
    line = runs_page(session).under_cursor()
    return "" if line is None else str(line.name)


async def open_run(session: Session, rate: float) -> RunPage:
    """Opens the page of the run with this `lr` and a depth."""
    await session.press("2", "slash")
    await session.type(f"lr={rate} has:depth")
    await session.press("enter", "enter")
    await session.until(lambda: isinstance(session.app.page, RunPage) and session.app.page.detail is not None)
    page = run_page(session)
    assert page.detail is not None
    assert page.detail.line.name == f"train lr={rate}"
    return page


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (60, 16), (40, 10), (200, 50)])
async def test_every_page_fills_every_size_exactly(opened: Opened, store: Store, size: tuple[int, int]) -> None:
    async with opened(store.layout.project, size=size) as session:
        await session.shows("kept")
        for key in ("2", "enter", ">", ">", ">", ">"):
            await session.press(key)
            await session.pilot.pause()
            assert [
                len(session.rows),
                {strip.cell_length for strip in session.app.screen._compositor.render_strips()},
            ] == [
                size[1],
                {size[0]},
            ]
        assert run_page(session).tab == "notes"


async def test_an_empty_project_says_what_to_type(opened: Opened, project: Path) -> None:
    async with opened(project) as session:
        await session.shows("ds run train.py --lr 0.1")


async def test_the_overview_shows_recent_runs_and_what_runs(opened: Opened, store: Store) -> None:
    new = begun_run(store, name="going on")
    async with opened(store.layout.project) as session:
        await session.shows("going on")
        await session.shows("Running")
        await session.shows("train lr=0.2")
    os.close(new.alive)


async def test_the_cursor_goes_on_from_one_table_of_the_overview_to_the_next(opened: Opened, store: Store) -> None:
    new = begun_run(store, name="going on")
    async with opened(store.layout.project) as session:
        await session.shows("going on")
        await session.until(lambda: session.app.page is not None and session.app.page.focused_view is not None)
        focused = []
        for key in ("k", "j", "j", "k", "k", "k"):
            await session.press(key)
            assert session.app.page is not None
            view = session.app.page.focused_view
            assert view is not None
            focused.append((view.id, view.cursor))
        assert focused == [("running", 0), ("recent", 0), ("recent", 1), ("recent", 0), ("running", 0), ("running", 0)]
    os.close(new.alive)


async def test_typing_a_filter_narrows_the_table_at_once_and_escape_widens_it(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await session.press("2")
        await session.until(lambda: len(names(session)) == 4)
        await session.press("slash", *"lr>0.15")
        await session.until(lambda: sorted(names(session)) == ["kept", "train lr=0.2"])
        assert "2 of 4" in session.screen
        await session.press("enter")
        await session.shows("filter lr>0.15")
        await session.press("escape")
        await session.until(lambda: len(names(session)) == 4)


async def test_a_filter_that_is_not_finished_says_what_is_missing_and_keeps_the_last_good_result(
    opened: Opened, store: Store
) -> None:
    async with opened(store.layout.project) as session:
        await session.press("2", "slash")
        await session.type("tag:paper lr>0")
        await session.until(lambda: names(session) == ["kept"])
        await session.press("backspace")
        await session.shows("A value is missing")
        assert names(session) != []
        await session.type("0.5")
        await session.shows("no run matches")


async def test_a_column_s_letter_sorts_by_it_and_the_same_again_turns_it_round(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await session.press("2")
        await session.until(lambda: len(names(session)) == 4)
        await session.press("s")
        letter = runs_page(session).state.letters["name"]
        await session.press(letter)
        await session.until(lambda: names(session) == ["broken", "kept", "train lr=0.1", "train lr=0.2"])
        await session.press("s", letter)
        await session.until(lambda: names(session) == ["train lr=0.2", "train lr=0.1", "kept", "broken"])
        await session.press("s", "escape")
        assert runs_page(session).state.letters == {}


async def test_marks_are_kept_by_run_and_can_take_a_range_or_all(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await session.press("2")
        await session.until(lambda: len(names(session)) == 4)
        page = runs_page(session)
        await session.press("space", "j", "v")
        assert len(page.state.marks) == 3
        await session.press("escape", "A")
        await session.until(lambda: len(page.state.marks) == 4)
        await session.press("A")
        assert page.state.marks == set()


async def test_the_cursor_stays_on_its_run_when_others_come(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await session.press("2")
        await session.until(lambda: len(names(session)) == 4)
        await session.press("j")
        before = under_cursor(session)
        new = begun_run(store, name="newest")
        await session.until(lambda: "newest" in names(session))
        assert under_cursor(session) == before
        os.close(new.alive)


async def test_the_preview_is_there_before_any_key(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project, kept=Kept(None, Layout(page="runs"))) as session:
        await session.shows("Preview  #4")


async def test_the_preview_comes_when_the_terminal_grows(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project, size=(90, 30), kept=Kept(None, Layout(page="runs"))) as session:
        await session.until(lambda: len(names(session)) == 4)
        assert "Preview" not in session.screen
        await session.pilot.resize_terminal(120, 36)
        await session.shows("Preview  #4")


async def test_the_preview_follows_the_cursor_and_compares_with_the_baseline(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await session.press("2")
        await session.until(lambda: len(names(session)) == 4)
        while under_cursor(session) != "train lr=0.1":
            await session.press("j")
        await session.press("*", "g")
        while under_cursor(session) != "train lr=0.2":
            await session.press("j")
        await session.shows("★")
        await session.until(lambda: "lr" in session.screen and "0.1 → 0.2" in session.screen)
        await session.until(lambda: any("\u2801" <= character <= "\u28ff" for character in session.screen))
        await session.press("p")
        await session.until(lambda: "Preview" not in session.screen)


async def test_a_run_opens_with_its_charts_config_output_code_and_notes(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await open_run(session, 0.2)
        await session.until(lambda: "━ train" in session.screen and "━ val" in session.screen)
        await session.shows("last line")
        await session.press(">")
        await session.shows("cifar")
        await session.press(">")
        await session.until(lambda: "loading 100% ↻3" in session.screen)
        await session.press(">")
        await session.shows("not in the project's git")
        await session.press(">")
        await session.shows("tester on testhost")
        await session.press("escape")
        assert runs_page(session).title == "Runs"


async def test_the_overwritten_states_of_a_line_can_be_seen(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await open_run(session, 0.1)
        await session.press(">", ">")
        await session.shows("loading 100%")
        await session.press("k", "enter")
        await session.shows("loading 1%")
        await session.shows("loading 50%")


async def test_the_output_can_be_searched(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await open_run(session, 0.1)
        await session.press(">", ">")
        await session.shows("last line")
        await session.press("slash", *"line", "enter")
        await session.shows("2 with line")
        view = run_page(session).views["log"]
        await session.press("n")
        first = view.cursor
        await session.press("n")
        assert {first, view.cursor} == {0, 3}


async def test_a_live_run_s_chart_and_output_grow(opened: Opened, store: Store) -> None:
    new = begun_run(store, name="live")
    journal = JournalWriter(str(new.folder / "journal"), 0, "1")
    journal.log({"loss": 2.0}, 0)
    async with opened(store.layout.project) as session:
        await session.shows("live")
        await session.press("enter")
        await session.until(lambda: run_page(session).detail is not None)
        journal.log({"loss": 1.5}, 10)
        (new.folder / "log").write_bytes(b"hello from training\n")
        await session.shows("hello from training")
        await session.shows("1.500")
        (new.folder / "exit.json").write_text(json.dumps(exit_record(new.id)))
        write_state(new.folder)
        os.close(new.alive)
        await session.until(lambda: "finished" in session.rows[0])
        await session.shows("1.500")
    journal.close()


async def test_charts_answer_to_their_keys(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await open_run(session, 0.1)
        await session.shows("━ val")
        charts = run_page(session).charts.model
        await session.press("L", "o", "b", "m")
        assert (charts.options.log, charts.options.smoothing, charts.options.band) == (True, 0.6, False)
        assert charts.selected == 1
        await session.until(lambda: "log y" in session.screen and "smooth 0.6" in session.screen)
        await session.press("l", "l")
        assert session.app.prompt.status
        await session.shows("step")
        await session.press("escape")
        assert charts.options.cursor is None
        await session.press("+")
        await session.shows("zoomed")
        await session.press("0")
        await session.until(lambda: "zoomed" not in session.screen)
        await session.press("a")
        await session.shows("by time")
        await session.press("F")
        assert charts.alone
        await session.press("escape")
        await session.until(lambda: not charts.alone)


async def test_stopping_asks_first_and_enter_alone_stops_nothing(opened: Opened, store: Store) -> None:
    new = begun_run(store, name="precious")
    acts: list[object] = []
    async with opened(store.layout.project) as session:
        session.app.reader.act = acts.append  # type: ignore[assignment,method-assign]
        await session.shows("precious")
        await session.press("x")
        await session.shows("Stop #5?")
        await session.press("enter")
        await session.shows("nothing was stopped")
        assert acts == []
        await session.press("x", "y")
        await session.shows("stopping 1 run")
        assert len(acts) == 1
    os.close(new.alive)


async def test_stopping_a_run_that_ended_says_so(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await session.shows("kept")
        await session.press("x")
        await session.shows("nothing to stop")


async def test_tags_and_notes_are_written_to_the_store(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await session.shows("kept")
        await session.press("t")
        await session.type(" good")
        await session.press("enter")
        await session.until(lambda: "1 run tagged: good" in session.screen)
        await session.press("i")
        await session.type("look again")
        await session.press("enter")
        await session.until(lambda: "note of" in session.screen)
    record = next(record for record in store.records() if record.name == "kept")
    assert record.tags == ("good", "paper")
    assert record.notes == "look again"


async def test_reading_only_has_no_key_that_changes_anything(opened: Opened, store: Store) -> None:
    store.index.sync()
    async with opened(store.layout.project, read_only=True) as session:
        await session.shows("kept")
        assert "stop" not in session.rows[-1]
        await session.press("x", "t", "i")
        assert not session.app.overlay.is_open
        assert session.app.prompt.question is None
        await session.press("colon", *"stop")
        await session.shows("nothing is called that")


async def test_copying_puts_the_id_or_the_command_on_the_clipboard(opened: Opened, store: Store) -> None:
    run = next(record.id for record in store.records() if record.name == "kept")
    async with opened(store.layout.project) as session:
        await session.shows("kept")
        await session.press("y")
        assert session.app.clipboard == run[:5]
        await session.press("2", "slash")
        await session.type("lr<1 tag:paper")
        await session.press("enter", "Y")
        assert session.app.clipboard == "ds ls 'lr<1 tag:paper'"
        await session.until(lambda: names(session) == ["kept"])
        await session.press("enter", "Y")
        assert session.app.clipboard == f"ds metrics {run[:5]}"


async def test_a_command_with_control_characters_is_not_copied(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await session.press("2")
        await session.until(lambda: len(names(session)) == 4)
        runs_page(session).query_text = "a\x1b[2Jb"
        await session.press("Y")
        assert session.app.clipboard == ""
        await session.shows("not copied")


async def test_help_shows_the_keys_of_the_focused_pane(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project, size=(120, 50)) as session:
        await session.press("2")
        await session.until(lambda: len(names(session)) == 4)
        await session.press("question_mark")
        await session.shows("Filter the runs as you type")
        assert "Smooth the lines" not in session.screen
        await session.press("escape")
        assert not session.app.overlay.is_open


async def test_the_palette_finds_and_does_a_command(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await session.shows("kept")
        await session.press("colon")
        await session.type("go to the page runs")
        await session.press("enter")
        await session.until(lambda: session.app.page_name == "runs")
        await session.press("ctrl+p", *"light", "enter")
        assert session.app.look.theme.name == "light"
        assert session.app.kept.theme == "light"


async def test_the_last_screen_is_shown_until_there_is_something_newer(opened: Opened, project: Path) -> None:
    async with opened(project, last_screen=["an old row", "another\x1b[2J row"], started=False) as session:
        await session.shows("an old row")
        assert "\x1b" not in session.screen
        session.app.reader.start()
        await session.shows("ds run train.py")
        assert "an old row" not in session.screen


async def test_the_page_of_the_last_session_opens_again(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project, kept=Kept(None, Layout(page="runs"))) as session:
        await session.until(lambda: len(names(session)) == 4)
        assert session.app.screen_lines()


async def test_without_colour_and_unicode_everything_of_ours_is_ascii(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project, look=Look(PLAIN, ASCII)) as session:
        await session.shows("kept")
        assert session.screen.isascii()
        await open_run(session, 0.1)
        await session.until(lambda: "* train" in session.screen)
        styles = {
            segment.style
            for strip in session.app.screen._compositor.render_strips()
            for segment in strip
            if segment.style is not None
        }
        assert {style.color for style in styles} <= {None}


async def test_q_leaves_and_ctrl_c_only_the_second_time(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await session.shows("kept")
        await session.press("ctrl+c")
        await session.shows("ctrl+c again leaves")
        assert session.app.return_code is None
        await session.press("ctrl+c")
        await session.until(lambda: session.app.return_value == 0)


async def test_a_slow_store_is_called_late(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await session.shows("live")
        session.app.reader.last_tick = -100.0
        session.app.reader.interval = 1000.0
        session.app.reader.last_tick = -2000.0
        session.app._check_late()
        await session.pilot.pause()
        assert "late" in session.rows[0]


async def test_a_click_moves_the_cursor_and_a_second_one_opens_the_run(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await session.press("2")
        await session.until(lambda: len(names(session)) == 4)
        await session.pilot.click(offset=(20, 5))
        assert runs_page(session).views["table"].cursor == 2
        await session.pilot.click(offset=(20, 5))
        await session.until(lambda: session.app.page_name == "run")
        await session.pilot.click(offset=(3, 0))
        await session.until(lambda: session.app.page_name == "runs")


async def test_a_page_that_is_left_asks_for_nothing_more(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await open_run(session, 0.1)
        await session.shows("━ val")
        assert isinstance(session.app.reader._standing["charts"], ChartsRequest)
        await session.press("1")
        await session.until(lambda: session.app.page_name == "overview")
        assert session.app.reader._standing.keys() == {"overview"}
