"""Every colour can be read on its ground, and no meaning is said by colour alone."""

from __future__ import annotations

import itertools

import pytest

from dstui.tui.theme import ASCII, DARK, LIGHT, PLAIN, STATE_COLOURS, THEMES, UNICODE, Look, Theme, contrast, faint
from dstui_store import STATES

LEAST_CONTRAST = 4.5
TEXTS = ("text", "quiet", "accent", "good", "bad", "warn", "special")


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
def test_text_and_series_can_be_read_on_every_ground(theme: Theme) -> None:
    grounds = {"ground": theme.ground, "raised": theme.raised, "rest": theme.rest}
    colours = {name: getattr(theme, name) for name in TEXTS}
    weak = {
        (name, ground): round(contrast(colour, grounds[ground]), 2)
        for (name, colour), ground in itertools.product(colours.items(), grounds)
        if contrast(colour, grounds[ground]) < LEAST_CONTRAST
    }
    weak |= {("series", colour): 0.0 for colour in theme.series if contrast(colour, theme.ground) < LEAST_CONTRAST}
    assert weak == {}
    assert contrast(theme.cursor_text, theme.cursor) >= LEAST_CONTRAST


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda theme: theme.name)
def test_every_state_has_a_colour_and_is_said_in_words(theme: Theme) -> None:
    for glyphs in (UNICODE, ASCII):
        look = Look(theme, glyphs)
        for state in STATES:
            assert state in look.state_words(state)
            assert state in STATE_COLOURS
            look.state(state)


def test_the_plain_theme_has_no_colour_at_all() -> None:
    look = Look(PLAIN, ASCII)
    styles = [
        getattr(look, name) for name, value in vars(Look).items() if not name.startswith("_") and hasattr(value, "func")
    ]
    for style in itertools.chain(*(style if isinstance(style, tuple) else (style,) for style in styles)):
        assert style.color is None
        assert style.bgcolor is None


def test_a_faint_colour_lies_between_the_colour_and_the_ground() -> None:
    assert faint("#ffffff", "#000000", 0.5) == "#808080"
    assert faint("red", "#000000") == "red"
