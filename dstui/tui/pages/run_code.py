"""The code of one run on its page: what differs from the baseline's, or from the commit it was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dstui.sdk.views.data import CodeRequest, CodeSnapshot
from dstui.tui.pages.run_log import next_place
from dstui.tui.views.diff import DiffModel
from dstui.tui.views.line_view import LineView
from dstui.tui.views.lines import PartsModel

if TYPE_CHECKING:
    from dstui.tui.pages.base import Desk
    from dstui.tui.views.cells import Part


class RunCode:
    """The pane `code`."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.run = ""
        self.view = LineView(PartsModel([], desk.look), desk.look, id="code")
        self._code: CodeSnapshot | None = None
        self._asked: tuple[str, str] | None = None

    def show_run(self, run: str) -> None:
        """Shows another run from its beginning."""
        self.run = run
        self._code = self._asked = None
        self.view.set_model(PartsModel([], self.desk.look))
        self.view.move_to(0)

    def ask(self) -> None:
        """Asks for the comparison, once for a run and a baseline."""
        wanted = (self.run, self.desk.kept.pinned)
        if self._asked != wanted:
            self._asked = wanted
            self._code = None
            self.show()
            self.desk.request(CodeRequest(*wanted))

    def receive(self, snapshot: CodeSnapshot) -> None:
        """Shows the comparison."""
        self._code = snapshot
        self.show()

    def show(self) -> None:
        """Draws the pane."""
        code, look, view = self._code, self.desk.look, self.view
        title: list[Part] = [("Code", look.strong)]
        if code is None:
            view.set_model(PartsModel([[("comparing", look.quiet)]] if self._asked is not None else [], look))
            view.set_title(title)
            return
        title.append((f"  against {code.against}", look.quiet))
        if code.problem:
            view.set_model(PartsModel([[(code.problem, look.warn)]], look))
        elif not code.files:
            view.set_model(PartsModel([[("no difference", look.quiet)]], look))
        else:
            view.set_model(DiffModel(code, look))
            title.append((f"  {len(code.files)} {'file' if len(code.files) == 1 else 'files'}", look.accent))
        view.set_title(title)

    def do_next_match(self) -> None:
        """The next file."""
        self._to_file(1)

    def do_previous_match(self) -> None:
        """The file before."""
        self._to_file(-1)

    def _to_file(self, step: int) -> None:
        view = self.view
        if isinstance(view.model, DiffModel):
            view.move_to(next_place(view.model.files(view.inner_width), view.top, step))
