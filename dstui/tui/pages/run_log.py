"""The output of one run on its page: follows the end, can be searched, shows what a line showed before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dstui.sdk.views.data import LogRequest, LogSnapshot
from dstui.tui.views.line_view import LineView
from dstui.tui.views.lines import PartsModel
from dstui.tui.views.log import SHIFT_CELLS, LogModel
from dstui.tui.views.prompt import Editor, Question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dstui.tui.pages.base import Desk
    from dstui.tui.views.cells import Part

READ_AHEAD = 300
"""Lines of output read beyond the screen, on either side."""


class RunLog:
    """The pane `log`."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.run = ""
        self.output: LogSnapshot | None = None
        self.follow = True
        self.search = ""
        self.view = LineView(PartsModel([], desk.look), desk.look, id="log")
        self._shift = 0
        self._number = 0
        self._history: list[str] = []

    # For the page

    def show_run(self, run: str) -> None:
        """Shows another run from its beginning."""
        self.run = run
        self.output, self.search, self.follow, self._shift = None, "", True, 0
        self.view.set_model(PartsModel([], self.desk.look))
        self.view.move_to(0)

    def ask(self) -> None:
        """Asks for the lines around the screen."""
        if not self.run:
            return
        view = self.view
        self._number += 1
        first = max(0, view.top - READ_AHEAD)
        count = max(1, view.inner_height) + 2 * READ_AHEAD
        self.desk.request(LogRequest(self.run, self._number, first, count, self.search, self.follow))

    def receive(self, snapshot: LogSnapshot) -> None:
        """Shows the lines; the newest when they are followed."""
        old, view = self.output, self.view
        searched_anew = old is not None and bool(snapshot.searched) and snapshot.searched != old.searched
        was_at_end = old is not None and 0 < old.count <= view.cursor + 1
        self.output = snapshot
        self._show()
        if self.follow or (was_at_end and snapshot.going_on and not self.search):
            view.move_to(snapshot.count - 1)
        self._show_title()
        if searched_anew:
            self._to_match(1, from_here=True)
        self._ask_if_needed()

    def set_look(self) -> None:
        """Colours or characters changed."""
        if self.output is not None:
            self.receive(self.output)

    def moved(self) -> None:
        """Leaving the end stops following it; new lines are read near the edge."""
        if self.output is not None:
            self.follow = self.view.cursor >= self.output.count - 1 and self.output.going_on
            self._show_title()
            self._ask_if_needed()

    def clear_search(self) -> bool:
        """Whether something was searched for; nothing is now."""
        if not self.search:
            return False
        self.search = ""
        self.ask()
        return True

    def show_states(self) -> bool:
        """Shows all that the line under the cursor showed in turn, if it was overwritten."""
        view = self.view
        found = view.model.line_at(view.cursor) if isinstance(view.model, LogModel) else None
        if found is None or not found.earlier:
            return False
        self.desk.show_lines(f"line {view.cursor + 1}: {found.states} states", [*found.earlier, found.text])
        return True

    # Keys

    def do_find(self) -> None:
        """Searches the output."""
        before = self.search

        def done(text: str | None) -> None:
            self.search = before if text is None else text
            self.follow = self.follow and not self.search
            self.ask()

        self.desk.question(
            Question("/ ", Editor(before, len(before)), changed=lambda _: None, done=done, history=self._history)
        )

    def do_next_match(self) -> None:
        """The next match of the search."""
        self._to_match(1)

    def do_previous_match(self) -> None:
        """The match before."""
        self._to_match(-1)

    def do_follow(self) -> None:
        """Follows the end of the output, or stays."""
        self.follow = not self.follow
        self.ask()
        self._show_title()

    def do_first(self) -> None:
        """The first line."""
        self.follow = False
        self.view.move_to(0)

    def do_left(self) -> None:
        """Long lines to the left."""
        self._move_sideways(-1)

    def do_right(self) -> None:
        """Long lines to the right."""
        self._move_sideways(1)

    # Inside

    def _show(self) -> None:
        if self.output is not None:
            self.view.set_model(LogModel(self.output, self.desk.look, shift=self._shift))

    def _show_title(self) -> None:
        log, look, view = self.output, self.desk.look, self.view
        if log is None:
            return
        title: list[Part] = [("Log", look.strong), (f"  {log.count:,} lines", look.quiet)]
        if log.searched:
            title.append((f"  {len(log.hits):,} with {log.searched}", look.accent if log.hits else look.warn))
        if log.problem:
            title.append((f"  {log.problem}", look.warn))
        note: list[Part] = []
        if self.follow and log.going_on:
            note = [("following", look.good)]
        elif log.count:
            note = [(f"{view.cursor + 1:,}/{log.count:,}", look.quiet)]
        view.set_title(title, note)

    def _ask_if_needed(self) -> None:
        log = self.output
        if log is None:
            return
        window, last = self.view.window, log.first + len(log.lines)
        if window.start < log.first or last < window.stop <= log.count:
            self.ask()

    def _to_match(self, step: int, *, from_here: bool = False) -> None:
        if self.output is not None and self.output.hits:
            self.view.move_to(next_place(self.output.hits, self.view.cursor, step, from_here=from_here))

    def _move_sideways(self, step: int) -> None:
        self._shift = max(0, self._shift + step * SHIFT_CELLS)
        self._show()


def next_place(places: Sequence[int], here: int, step: int, *, from_here: bool = False) -> int:
    """The next of some places after a position, or before it; round the end to the first.

    Args:
        places: at least one, in order.
        here: the position.
        step: 1 for the next, -1 for the one before.
        from_here: `here` itself is next, too.
    """
    later = [place for place in places if (place >= here if from_here else place > here)]
    earlier = [place for place in places if place < here]
    return (later or places)[0] if step > 0 else (earlier or places)[-1]
