"""Typing a line: editing keys, history, completion, and what is pasted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstui.tui.views.prompt import Editor, PromptLine, Question

if TYPE_CHECKING:
    from dstui.tui.theme import Look

KEYS = ["left", "right", "home", "end", "backspace", "delete", "ctrl+u", "ctrl+k", "ctrl+w", "ctrl+e"]


def edited(text: str, *keys: str) -> str:
    """The text with `|` at the cursor after some keys."""
    editor = Editor(text, len(text))
    for key in keys:
        assert editor.key(key)
    return editor.text[: editor.position] + "|" + editor.text[editor.position :]


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        (("left", "left", "backspace"), "one |wo"),
        (("home", "delete"), "|ne two"),
        (("ctrl+w",), "one |"),
        (("ctrl+u",), "|"),
        (("home", "right", "ctrl+k"), "o|"),
        (("home", "end"), "one two|"),
    ],
)
def test_editing_keys(keys: tuple[str, ...], left: str) -> None:
    assert edited("one two", *keys) == left


@given(st.lists(st.one_of(st.sampled_from(KEYS), st.text(st.characters(codec=None), max_size=6)), max_size=30))
def test_the_cursor_never_leaves_the_text_and_nothing_typed_can_steer_a_terminal(steps: list[str]) -> None:
    editor = Editor()
    for step in steps:
        if step not in KEYS or not editor.key(step):
            editor.insert(step)
        assert 0 <= editor.position <= len(editor.text)
        assert editor.text.isprintable()


class Asked:
    """A question that writes down what it is told."""

    def __init__(self, look: Look, text: str = "", words: tuple[str, ...] = ()) -> None:
        self.changes: list[str] = []
        self.ends: list[str | None] = []
        self.history = ["earlier"]
        self.line = PromptLine(look)
        self.line.question = Question(
            "/ ",
            Editor(text, len(text)),
            self.changes.append,
            self.ends.append,
            complete=lambda typed, position: (0, position, words),
            history=self.history,
        )

    def type(self, *keys: str) -> str:
        for key in keys:
            self.line.type_key(key, key if len(key) == 1 else None)
        return self.line.question.editor.text if self.line.question is not None else ""


def test_each_change_is_told_and_enter_keeps_the_text(look: Look) -> None:
    asked = Asked(look)
    asked.type("l", "r", "enter")
    assert asked.changes == ["l", "lr"]
    assert asked.ends == ["lr"]
    assert asked.history == ["earlier", "lr"]


def test_escape_gives_it_up(look: Look) -> None:
    asked = Asked(look, "lr")
    asked.type("escape")
    assert asked.ends == [None]
    assert asked.history == ["earlier"]


def test_tab_goes_round_the_suggestions(look: Look) -> None:
    asked = Asked(look, "l", ("lr", "loss"))
    assert asked.type("tab") == "lr"
    assert asked.type("tab") == "loss"
    assert asked.type("tab") == "lr"


def test_what_was_typed_before_comes_back_with_the_arrows(look: Look) -> None:
    asked = Asked(look)
    assert asked.type("up") == "earlier"
    assert asked.type("down") == ""


def test_a_pasted_text_becomes_one_harmless_line(look: Look) -> None:
    asked = Asked(look)
    asked.line.paste("a\nb\x1b[2Jc")
    assert asked.changes == ["a b\ufffd[2Jc"]
