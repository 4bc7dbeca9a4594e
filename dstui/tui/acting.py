"""What keys do to runs: stop, tags, notes, and copying. Each act is one function of the sdk, done in another thread.

A question is bound to ids, not to rows: what moves on screen meanwhile does not change what is hit.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from dstui.sdk import clean
from dstui.tui.views.overlay import Choice
from dstui.tui.views.prompt import Editor, Question

if TYPE_CHECKING:
    from dstui.sdk import Project, SafeText
    from dstui.sdk.views import Reader
    from dstui.tui.pages.base import Page
    from dstui.tui.theme import Look
    from dstui.tui.views.cells import Part
    from dstui.tui.views.overlay import Overlay

ASKED_FROM = 20
"""Changing more runs than this at once is asked about first."""


class Stage(Protocol):
    """What acts and menus need of the app."""

    look: Look
    read_only: bool
    reader: Reader
    overlay: Overlay

    @property
    def page(self) -> Page | None:
        """The page on screen."""

    def say(self, text: str, tone: str = "") -> None:
        """Shows a message."""

    def question(self, question: Question) -> None:
        """Lets the user type."""

    def copy_to_clipboard(self, text: str) -> None:
        """Hands a text to the terminal's clipboard."""


class Acts:
    """Methods `do_NAME` of the actions that change runs or copy something."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def do_stop(self) -> None:
        """Asks, then stops the runs that go on among the targets."""
        page, look = self._stage.page, self._stage.look
        targets = [line for line in page.targets() if line.live] if page is not None else []
        if not targets:
            self._stage.say("nothing to stop: the run has ended", "warn")
            return
        runs = [str(line.id) for line in targets]
        what = f"{len(runs)} runs" if len(runs) > 1 else str(targets[0].label)
        lines: list[list[Part]] = [
            [(line.label.ljust(10), look.text), (line.short.ljust(8), look.quiet), (line.name, look.strong)]
            for line in targets
        ]
        self._ask(f"Stop {what}?", lines, f"Stop {what}", "nothing was stopped", lambda: self._stop(runs))

    def do_tags(self) -> None:
        """Edits the tags of one run, or adds to those of several; `-tag` takes one away."""
        page = self._stage.page
        runs = page.target_ids() if page is not None else []
        if page is None or not runs:
            return
        lines = page.targets()
        before = set(lines[0].tags) if len(runs) == 1 and lines else set()
        text = " ".join(sorted(before))

        def done(typed: str | None) -> None:
            if typed is None:
                return
            words = set(typed.split())
            removed = {word[1:] for word in words if word.startswith("-")} | {tag for tag in before if tag not in words}
            added = {word for word in words if not word.startswith("-")} - before
            if added or removed:
                self._retag(runs, sorted(added), removed)

        self._stage.question(Question("tags ", Editor(text, len(text)), lambda _: None, done))

    def do_note(self) -> None:
        """Edits the note of a run; a backslash and an n stand for a line break."""
        page = self._stage.page
        targets = page.targets() if page is not None else []
        if len(targets) != 1:
            words = "a note is for one run: take the marks away first" if targets else "no run is chosen"
            self._stage.say(words, "warn")
            return
        run, text = str(targets[0].id), targets[0].notes.replace("\n", "\\n")

        def done(typed: str | None) -> None:
            if typed is not None and typed != text:
                note = typed.replace("\\n", "\n")
                self._stage.reader.act(lambda project: clean(f"note of {project.note(run, note).number} kept"))

        self._stage.question(Question("note ", Editor(text, len(text)), lambda _: None, done))

    def do_copy_id(self) -> None:
        """Copies the ids of the targets, short where they are known."""
        page = self._stage.page
        if page is None:
            return
        short = {str(line.id): str(line.short) for line in page.targets()}
        runs = [short.get(run, run) for run in page.target_ids()]
        if runs:
            self._copy(" ".join(runs))

    def do_copy_command(self) -> None:
        """Copies the command that shows the same."""
        page = self._stage.page
        if page is None:
            return
        words = page.command()
        if all(word.isprintable() for word in words):
            self._copy(shlex.join(words))
        else:
            self._stage.say("not copied: a value holds control characters", "warn")

    def _stop(self, runs: Sequence[str]) -> None:
        self._stage.say(f"stopping {len(runs)} {'run' if len(runs) == 1 else 'runs'}")
        for run in runs:
            self._stage.reader.act(_stopping(run))

    def _retag(self, runs: Sequence[str], added: Sequence[str], removed: set[str]) -> None:
        def retag() -> None:
            self._stage.reader.act(_retagging(runs, added, removed))

        if len(runs) <= ASKED_FROM:
            retag()
            return
        words = [*added, *(f"-{tag}" for tag in sorted(removed))]
        lines: list[list[Part]] = [[(" ".join(words), self._stage.look.strong)]]
        self._ask(f"Change the tags of {len(runs)} runs?", lines, "Change them", "no tag was changed", retag)

    def _ask(
        self, title: str, lines: Sequence[Sequence[Part]], yes: str, given_up: str, act: Callable[[], None]
    ) -> None:
        choices = [Choice("n", "Cancel", lambda: self._stage.say(given_up)), Choice("y", yes, act)]
        self._stage.overlay.ask([(title, self._stage.look.strong)], lines, choices)

    def _copy(self, text: str) -> None:
        self._stage.copy_to_clipboard(text)
        self._stage.say(f"copied: {text}", "good")


def _stopping(run: str) -> Callable[[Project], SafeText]:
    return lambda project: clean(f"{project.stop(run).number} stopped")


def _retagging(runs: Sequence[str], added: Sequence[str], removed: set[str]) -> Callable[[Project], SafeText]:
    def act(project: Project) -> SafeText:
        for run in runs:
            have = set(project.run(run).record.tags)
            new, gone = [tag for tag in added if tag not in have], sorted(removed & have)
            if new:
                project.tag(run, new)
            if gone:
                project.untag(run, gone)
        what = " and ".join(
            part for part in (" ".join(added), "without " + " ".join(sorted(removed)) if removed else "") if part
        )
        return clean(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} tagged: {what}")

    return act
