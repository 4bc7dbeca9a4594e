"""The registry of keys: one meaning each, a method for each, and a command line twin for what changes runs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from dstui.errors import ConfigError
from dstui.tui import actions
from dstui.tui.acting import Acts
from dstui.tui.actions import ACTIONS, EVERYWHERE, PLACES, available, clashes, find, footer, matching, with_keys
from dstui.tui.app import Dashboard
from dstui.tui.menus import Menus
from dstui.tui.pages.base import Page
from dstui.tui.pages.overview import OverviewPage
from dstui.tui.pages.run import RunPage
from dstui.tui.pages.runs import RunsPage

if TYPE_CHECKING:
    from tests.tui.conftest import FakeDesk

FORBIDDEN_KEYS = {"ctrl+a", "ctrl+b", "ctrl+s", "ctrl+q", "ctrl+z", "ctrl+c"}
"""Prefixes of screen and tmux, flow control, suspend, interrupt."""

PANES: dict[type[Page], tuple[str, ...]] = {
    OverviewPage: ("running", "recent", "since"),
    RunsPage: ("table",),
    RunPage: ("charts", "facts", "log", "config", "code", "notes"),
}


def test_no_key_has_two_meanings() -> None:
    assert clashes(ACTIONS) == []


def test_no_action_needs_a_key_that_terminals_keep_for_themselves() -> None:
    keys = set(itertools.chain.from_iterable(action.keys for action in ACTIONS))
    assert keys & FORBIDDEN_KEYS == set()
    assert [key for key in keys if key.startswith(("alt+", "f1", "super+"))] == []


def test_every_action_has_a_method_on_each_page_where_it_can_be_used(
    desk: FakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Page, "focused_view", None)
    missing = [
        (kind.__name__, pane, action.name)
        for kind, panes in PANES.items()
        for pane, page in ((pane, kind(desk, id="page")) for pane in panes)
        for action in available((*page.pane_places(pane), *kind.place_names), read_only=False)
        if not any(hasattr(owner, f"do_{action.name}") for owner in (*page.key_owners(), Dashboard, Acts, Menus))
    ]
    assert missing == []


def test_every_action_can_be_used_somewhere_and_its_places_exist(desk: FakeDesk) -> None:
    reached = {EVERYWHERE}
    for kind, panes in PANES.items():
        page = kind(desk, id="page")
        reached |= {place for pane in panes for place in (*page.pane_places(pane), *kind.place_names)}
    assert reached == set(PLACES)
    assert [action.name for action in ACTIONS if not set(action.where) <= reached] == []


def test_what_changes_runs_has_a_twin_on_the_command_line_and_is_gone_when_reading_only() -> None:
    changing = [action for action in ACTIONS if action.changes]
    assert {action.name: action.twin for action in changing} == {"stop": "ds stop", "tags": "ds tag", "note": "ds note"}
    for action in changing:
        assert find(action.keys[0], action.where, read_only=False) is action
        assert find(action.keys[0], action.where, read_only=True) is None
        assert action not in footer(action.where, 99, read_only=True)


def test_the_footer_always_ends_with_commands_and_help() -> None:
    for places, count in itertools.product((("table",), ("run", "charts"), ()), (2, 6, 9)):
        shown = footer(places, count, read_only=False)
        assert len(shown) <= count
        assert [action.name for action in shown[-2:]] == ["commands", "help"]


def test_a_person_s_own_key_replaces_ours() -> None:
    changed = with_keys({"mark": "w"})
    assert find("w", ("table",), read_only=False, actions=changed) is not None
    assert find(" ", ("table",), read_only=False, actions=changed) is None


def test_a_person_s_key_that_is_taken_is_refused_with_both_names() -> None:
    with pytest.raises(ConfigError) as error:
        with_keys({"mark": "s"})
    assert "`sort`" in error.value.message
    assert "`mark`" in error.value.message
    with pytest.raises(ConfigError, match="No action is called `fly`"):
        with_keys({"fly": "w"})


def test_a_few_letters_find_a_command() -> None:
    assert matching("smo", ACTIONS)[0].name == "smooth"
    assert matching("cpyid", ACTIONS)[0].name == "copy_id"
    assert matching("zzzzq", ACTIONS) == []


def test_the_reference_names_every_key_once() -> None:
    text = actions.reference()
    for action in ACTIONS:
        assert text.count(f"| `{action.name}` |\n") == (1 if action.keys else 0)
