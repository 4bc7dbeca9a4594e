"""What lies over a page: the keys of the focused pane, and the palette of commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from dstui.tui import actions
from dstui.tui.acting import Stage
from dstui.tui.theme import THEMES
from dstui.tui.views.cells import wrap
from dstui.tui.views.prompt import Editor, Question

if TYPE_CHECKING:
    from textual.geometry import Size

    from dstui.tui.actions import Action
    from dstui.tui.views.cells import Part

HELP_KEYS_WIDTH = 14

PALETTE_LINES = 12
"""Commands on screen at once."""

MOVES = {
    "j": 1,
    "down": 1,
    "k": -1,
    "up": -1,
    "ctrl+d": 10,
    "pagedown": 10,
    "ctrl+u": -10,
    "pageup": -10,
    "g": -10_000,
    "home": -10_000,
    "G": 10_000,
    "end": 10_000,
}
"""Lines that a key moves in what lies over a page."""


class MenuStage(Stage, Protocol):
    """What menus need of the app besides."""

    @property
    def size(self) -> Size:
        """Cells of the terminal."""

    def do(self, action: Action) -> None:
        """Carries out an action."""

    def use_theme(self, name: str) -> None:
        """Draws with other colours."""

    def page_changed(self) -> None:
        """Says that what stands around the page may have to be drawn anew."""


class Menus:
    """Help, palette, and the keys of whatever lies over a page."""

    def __init__(self, stage: MenuStage) -> None:
        self._stage = stage
        self._offered: Sequence[Action] = ()
        self._found: Sequence[Action] = ()

    def show(
        self, kind: str, title: Sequence[Part], lines: Sequence[Sequence[Part]], note: Sequence[Part] = ()
    ) -> None:
        """Shows lines over the page, as many as fit."""
        most = self._stage.size.height - 3
        self._stage.overlay.open(kind, title, lines, height=max(3, min(most, len(lines) + 2)), note=note)

    def do_help(self) -> None:
        """The keys of the focused pane, those of its page, then those that hold everywhere."""
        page, look = self._stage.page, self._stage.look
        if page is None:
            return
        places = {*page.places(), actions.EVERYWHERE}
        lines: list[list[Part]] = []
        for place, title in actions.PLACES.items():
            shown = [
                action
                for action in actions.available([place], read_only=self._stage.read_only)
                if place == action.where[0] and action.keys and place in places
            ]
            if shown:
                lines += [[], [(title, look.strong)]] if lines else [[(title, look.strong)]]
                lines += [line for action in shown for line in self._help_lines(action)]
        self.show("help", [("Keys", look.strong)], lines, note=[("esc closes", look.quiet)])

    def do_commands(self) -> None:
        """The palette: what is typed narrows it, arrows choose, enter does it."""
        page, overlay = self._stage.page, self._stage.overlay
        if page is None:
            return
        usable = actions.available(page.places(), read_only=self._stage.read_only)
        self._offered = [*(action for action in usable if action.name != "commands"), *self._themes()]
        self._found = self._offered
        height = max(3, min(self._stage.size.height - 6, PALETTE_LINES + 2))
        title = [("Commands", self._stage.look.strong)]
        overlay.open("palette", title, self._palette_lines(), selectable=True, height=height)
        self._stage.question(Question(": ", Editor(), self._narrow, self._choose))

    def key(self, key: str) -> None:
        """Does what a key means while something lies over the page."""
        overlay = self._stage.overlay
        if overlay.kind == "question":
            choice = overlay.question_key(key)
            if choice is not None:
                overlay.close()
                choice.act()
                self._stage.page_changed()
        elif key in MOVES:
            overlay.move_by(MOVES[key])
        elif key in ("escape", "q", "?", "enter"):
            overlay.close()

    def _help_lines(self, action: Action) -> list[list[Part]]:
        look = self._stage.look
        keys = "  ".join(actions.key_text(key) for key in action.keys)
        room = max(20, self._stage.size.width - HELP_KEYS_WIDTH - 5)
        texts = wrap(action.help, room)
        heads = [keys, *[""] * (len(texts) - 1)]
        return [
            [(head.ljust(HELP_KEYS_WIDTH), look.accent), (text, look.text)]
            for head, text in zip(heads, texts, strict=True)
        ]

    def _themes(self) -> list[Action]:
        used = self._stage.look.theme.name
        return [
            actions.Action(f"theme_{name}", (), f"theme: {name}", f"Use the {name} colours")
            for name in THEMES
            if name not in (used, "plain")
        ]

    def _narrow(self, text: str) -> None:
        self._found = actions.matching(text, self._offered) if text else self._offered
        self._stage.overlay.move_to(0)
        self._stage.overlay.show_lines(self._palette_lines(), selectable=True)

    def _choose(self, text: str | None) -> None:
        place = self._stage.overlay.cursor
        self._stage.overlay.close()
        if text is None or place >= len(self._found):
            return
        chosen = self._found[place]
        if chosen.name.startswith("theme_"):
            self._stage.use_theme(chosen.name.removeprefix("theme_"))
        else:
            self._stage.do(chosen)

    def _palette_lines(self) -> list[list[Part]]:
        look = self._stage.look
        if not self._found:
            return [[("nothing is called that", look.quiet)]]
        return [
            [(action.label.ljust(18), look.strong), (action.shown.ljust(11), look.accent), (action.help, look.quiet)]
            for action in self._found
        ]
