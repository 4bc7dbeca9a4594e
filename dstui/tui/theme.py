"""Colours and characters of the dashboard: what a model may draw with.

A `Look` is one theme with one set of glyphs. Series colours are Okabe and Ito's, so that common kinds of colour
blindness can tell them apart; a colour never carries a meaning alone, a word or a glyph always says it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from rich.color import Color, ColorType
from rich.style import Style


@dataclass(frozen=True)
class Theme:
    """The colours of one theme, as names of rich; "" is the terminal's own.

    What every row has comes from the 256 colours that all terminals share: it looks alike everywhere, and its escape
    sequences are half as long as those of true colours.

    Attributes:
        ground: background of the screen.
        raised: background of bars and of what lies over a page.
        cursor: background of the cursor's line in the focused pane.
        rest: the same in a pane without focus.
        series: one colour per line of a chart, in order.
    """

    name: str
    dark: bool
    ground: str
    raised: str
    text: str
    quiet: str
    border: str
    accent: str
    cursor: str
    cursor_text: str
    rest: str
    good: str
    bad: str
    warn: str
    special: str
    series: tuple[str, ...]


DARK = Theme(
    name="dark",
    dark=True,
    ground="color(233)",
    raised="color(235)",
    text="color(252)",
    quiet="color(247)",
    border="color(239)",
    accent="color(74)",
    cursor="color(24)",
    cursor_text="color(231)",
    rest="color(236)",
    good="color(72)",
    bad="color(209)",
    warn="color(179)",
    special="color(175)",
    series=("#56b4e9", "#e69f00", "#1fb58a", "#f0e442", "#cc79a7", "#e8743b", "#4c95d0", "#bbbbbb"),
)

LIGHT = Theme(
    name="light",
    dark=False,
    ground="color(231)",
    raised="color(255)",
    text="color(235)",
    quiet="color(241)",
    border="color(250)",
    accent="color(25)",
    cursor="color(153)",
    cursor_text="color(232)",
    rest="color(254)",
    good="color(23)",
    bad="color(124)",
    warn="color(94)",
    special="color(89)",
    series=("#0069a6", "#9a5b00", "#00735a", "#7a6a00", "#9b4477", "#a84a00", "#3b4cc0", "#555555"),
)

ANSI = Theme(
    name="ansi",
    dark=True,
    ground="",
    raised="",
    text="",
    quiet="bright_black",
    border="bright_black",
    accent="cyan",
    cursor="blue",
    cursor_text="bright_white",
    rest="",
    good="green",
    bad="red",
    warn="yellow",
    special="magenta",
    series=("cyan", "yellow", "green", "bright_yellow", "magenta", "red", "blue", "white"),
)

PLAIN = Theme(
    name="plain",
    dark=True,
    ground="",
    raised="",
    text="",
    quiet="",
    border="",
    accent="",
    cursor="",
    cursor_text="",
    rest="",
    good="",
    bad="",
    warn="",
    special="",
    series=("",) * 8,
)

THEMES = {theme.name: theme for theme in (DARK, LIGHT, ANSI, PLAIN)}
"""Every theme by name; `plain` uses no colour at all and is what `NO_COLOR` gives."""


@dataclass(frozen=True)
class Glyphs:
    """The characters that differ between a terminal with Unicode and one without.

    Attributes:
        corners: the eleven pieces of a frame: `─ │ ┌ ┐ └ ┘ ├ ┤ ┬ ┴ ┼`.
        braille: whether charts may use braille dots.
        states: one glyph per run state; "" where the word alone says it.
    """

    corners: str
    thumb: str
    braille: bool
    more: str
    star: str
    mark: str
    arrow: str
    up: str
    down: str
    live: str
    late: str
    stale: str
    dash: str
    chevron: str
    states: dict[str, str]


UNICODE = Glyphs(
    corners="─│┌┐└┘├┤┬┴┼",
    thumb="┃",
    braille=True,
    more="…",
    star="★",
    mark="*",
    arrow="→",
    up="↑",
    down="↓",
    live="●",
    late="◐",
    stale="○",
    dash="–",
    chevron="›",
    states={
        "running": "▸",
        "finished": " ",
        "failed": "✗",
        "oom": "✗",
        "timeout": "✗",
        "stopped": "■",
        "killed": "‼",
        "lost": "‼",
        "preempted": "↻",
    },
)

ASCII = Glyphs(
    corners="-|+++++++++",
    thumb="#",
    braille=False,
    more="..",
    star="*",
    mark="+",
    arrow="->",
    up="^",
    down="v",
    live="o",
    late="o",
    stale="x",
    dash="-",
    chevron=">",
    states={},
)

STATE_COLOURS = {
    "running": "accent",
    "finished": "good",
    "failed": "bad",
    "oom": "bad",
    "timeout": "bad",
    "stopped": "quiet",
    "killed": "special",
    "lost": "special",
    "preempted": "warn",
}
"""Which colour of the theme a state has."""


@dataclass(frozen=True)
class Look:
    """One theme with one set of glyphs, and the styles made of them."""

    theme: Theme
    glyphs: Glyphs

    @cached_property
    def ground(self) -> Style:
        """The bare background."""
        return _style("", self.theme.ground)

    @cached_property
    def text(self) -> Style:
        """Ordinary text."""
        return _style(self.theme.text, self.theme.ground)

    @cached_property
    def strong(self) -> Style:
        """Text that is read first: headings, the name of what is shown."""
        return self.text + Style(bold=True)

    @cached_property
    def quiet(self) -> Style:
        """Labels, units, what is read last."""
        style = _style(self.theme.quiet, self.theme.ground)
        return style if self.theme.quiet else style + Style(dim=True)

    @cached_property
    def border(self) -> Style:
        """Frames of panes without focus."""
        style = _style(self.theme.border, self.theme.ground)
        return style if self.theme.border else style + Style(dim=True)

    @cached_property
    def accent(self) -> Style:
        """The one colour that says "here": focus, the active tab, keys."""
        return _style(self.theme.accent, self.theme.ground) + Style(bold=not self.theme.accent)

    @cached_property
    def focus(self) -> Style:
        """The frame of the pane that has the keys."""
        return self.accent

    @cached_property
    def head(self) -> Style:
        """The heading row of a table."""
        return self.quiet + Style(bold=True)

    @cached_property
    def letter(self) -> Style:
        """A letter of a heading that can be typed now."""
        return self.accent + Style(bold=True, underline=True)

    @cached_property
    def cursor(self) -> Style:
        """The cursor's line in the focused pane."""
        if not self.theme.cursor:
            return Style(reverse=True)
        return _style(self.theme.cursor_text, self.theme.cursor)

    @cached_property
    def rest(self) -> Style:
        """The cursor's line in a pane without focus."""
        return _style(self.theme.text, self.theme.rest) + self.rest_ground

    @cached_property
    def rest_ground(self) -> Style:
        """What `rest` adds to a cell's own style."""
        return Style(bgcolor=self.theme.rest or None, underline=not self.theme.rest or None)

    @cached_property
    def cursor_block(self) -> Style:
        """The cursor in a line that is being typed."""
        return Style(reverse=True) + self.raised

    @cached_property
    def found(self) -> Style:
        """What a search found."""
        if not self.theme.warn:
            return Style(reverse=True)
        return Style(color=self.theme.ground or "black", bgcolor=self.theme.warn)

    @cached_property
    def raised(self) -> Style:
        """Bars, the prompt, what lies over a page."""
        return _style(self.theme.text, self.theme.raised)

    @cached_property
    def raised_strong(self) -> Style:
        """What is read first on a bar."""
        return self.raised + Style(bold=True)

    @cached_property
    def raised_quiet(self) -> Style:
        """Labels on a bar."""
        style = _style(self.theme.quiet, self.theme.raised)
        return style if self.theme.quiet else style + Style(dim=True)

    @cached_property
    def raised_accent(self) -> Style:
        """Keys and the active tab on a bar."""
        return _style(self.theme.accent, self.theme.raised) + Style(bold=True)

    @cached_property
    def tab_active(self) -> Style:
        """The tab of the page that is shown."""
        if not self.theme.accent:
            return Style(reverse=True)
        return _style(self.theme.ground or "black", self.theme.accent) + Style(bold=True)

    @cached_property
    def raised_good(self) -> Style:
        """All is well, on a bar."""
        return _style(self.theme.good, self.theme.raised)

    @cached_property
    def raised_warn(self) -> Style:
        """Something to look at, on a bar."""
        return _style(self.theme.warn, self.theme.raised) + Style(bold=not self.theme.warn)

    @cached_property
    def good(self) -> Style:
        """A good end; an added line."""
        return _style(self.theme.good, self.theme.ground)

    @cached_property
    def bad(self) -> Style:
        """A failure; a removed line."""
        return _style(self.theme.bad, self.theme.ground) + Style(bold=not self.theme.bad)

    @cached_property
    def warn(self) -> Style:
        """Something to look at."""
        return _style(self.theme.warn, self.theme.ground) + Style(bold=not self.theme.warn)

    @cached_property
    def series(self) -> tuple[Style, ...]:
        """One style per line of a chart."""
        return tuple(_style(colour, self.theme.ground) for colour in self.theme.series)

    @cached_property
    def bands(self) -> tuple[Style, ...]:
        """The same, faint, for the band between the least and the greatest value of a column."""
        return tuple(_style(faint(colour, self.theme.ground), self.theme.ground) for colour in self.theme.series)

    def state(self, state: str) -> Style:
        """The style of a run state."""
        colour = getattr(self.theme, STATE_COLOURS.get(state, "quiet"))
        return _style(colour, self.theme.ground)

    def raised_state(self, state: str) -> Style:
        """The style of a run state on a bar."""
        return _style(getattr(self.theme, STATE_COLOURS.get(state, "quiet")), self.theme.raised)

    def state_words(self, state: str) -> str:
        """Glyph and word of a run state, or the word alone without Unicode."""
        glyph = self.glyphs.states.get(state)
        return state if glyph is None else f"{glyph} {state}"


def faint(colour: str, ground: str, share: float = 0.38) -> str:
    """A colour with only `share` of its strength over the ground; one of the terminal's own stays as it is."""
    over, under = _rgb(colour), _rgb(ground)
    if over is None or under is None:
        return colour
    mixed = (round(low + (high - low) * share) for high, low in zip(over, under, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def contrast(colour: str, ground: str) -> float:
    """Contrast ratio of two colours after WCAG 2, 1 to 21.

    Raises:
        ValueError: one of them is the terminal's own, which nobody knows.
    """
    over, under = _rgb(colour), _rgb(ground)
    if over is None or under is None:
        raise ValueError(f"The contrast of `{colour}` on `{ground}` depends on the terminal")
    lighter, darker = sorted((_luminance(over), _luminance(under)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _style(colour: str, ground: str) -> Style:
    return Style(color=colour or None, bgcolor=ground or None)


def _rgb(colour: str) -> tuple[int, int, int] | None:
    """Red, green and blue of 0 to 255; None for the default and the sixteen colours that each terminal has its own."""
    parsed = Color.parse(colour) if colour else Color.default()
    if parsed.is_default or parsed.type is ColorType.STANDARD:
        return None
    found = parsed.get_truecolor()
    return found.red, found.green, found.blue


def _luminance(colour: tuple[int, int, int]) -> float:
    red, green, blue = (
        value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4
        for value in (part / 255 for part in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
