"""The line above the footer: a message, a hint, or a line of text that is being typed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from textual.widget import Widget

from dstui.tui.views.cells import Part, cut_left, line, printable, shorten, spread, width_of

if TYPE_CHECKING:
    from textual.strip import Strip

    from dstui.tui.theme import Look

MAX_TYPED = 4096
"""Characters of a typed line."""

MAX_HISTORY = 50

NOTE_WIDTH = 24


@dataclass
class Editor:
    """One line of text with a cursor. Pure.

    Attributes:
        text: what is typed.
        position: the cursor, 0 to `len(text)`.
    """

    text: str = ""
    position: int = 0

    def insert(self, typed: str) -> None:
        """Puts text at the cursor; what a terminal would obey becomes a space."""
        typed = printable(typed.replace("\n", " ").replace("\t", " "))[: MAX_TYPED - len(self.text)]
        self.text = self.text[: self.position] + typed + self.text[self.position :]
        self.position += len(typed)

    def replace(self, start: int, end: int, text: str) -> None:
        """Puts text in the place of a part."""
        self.text = self.text[:start] + text + self.text[end:]
        self.position = start + len(text)

    def key(self, key: str) -> bool:
        """Does what an editing key means; whether it was one."""
        moves: dict[str, Callable[[], int]] = {
            "left": lambda: max(0, self.position - 1),
            "right": lambda: min(len(self.text), self.position + 1),
            "home": lambda: 0,
            "end": lambda: len(self.text),
            "ctrl+e": lambda: len(self.text),
        }
        if key in moves:
            self.position = moves[key]()
        elif key == "backspace":
            self.replace(max(0, self.position - 1), self.position, "")
        elif key == "delete":
            end, start = min(len(self.text), self.position + 1), self.position
            self.replace(start, end, "")
        elif key == "ctrl+u":
            self.replace(0, self.position, "")
        elif key == "ctrl+k":
            self.replace(self.position, len(self.text), "")
        elif key == "ctrl+w":
            self.replace(self._word_start(), self.position, "")
        else:
            return False
        return True

    def _word_start(self) -> int:
        before = self.text[: self.position].rstrip(" ")
        return before.rfind(" ") + 1


@dataclass
class Question:
    """Something that is being typed, and who wants to know.

    Attributes:
        sign: what stands before the text, such as `/`.
        changed: told the text after each change.
        done: told the text when it is kept, None when it is given up.
        complete: gives (start, end, texts that may stand there) for the word at the cursor.
        hint: parts at the right end.
    """

    sign: str
    editor: Editor
    changed: Callable[[str], None]
    done: Callable[[str | None], None]
    complete: Callable[[str, int], tuple[int, int, Sequence[str]]] | None = None
    hint: Callable[[], Sequence[Part]] = tuple
    history: list[str] = field(default_factory=list)
    suggestion: int = -1
    offered: tuple[int, int, Sequence[str]] = (0, 0, ())


class Note(Widget):
    """A few words at the right end of the same row: where the cursor is.

    A widget of its own, since it changes with each key and the rest of the row does not.
    """

    DEFAULT_CSS = f"Note {{ height: 1; width: {NOTE_WIDTH}; }}"

    def __init__(self, look: Look, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.look = look
        self.parts: Sequence[Part] = ()

    def say(self, parts: Sequence[Part]) -> None:
        """Shows other words."""
        if tuple(parts) != self.parts:
            self.parts = tuple(parts)
            self.refresh()

    def set_look(self, look: Look) -> None:
        """Draws with other colours."""
        self.look = look
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The words, at the right."""
        return spread([], [*self.parts, (" ", self.look.text)], self.size.width, self.look.ground)


class PromptLine(Widget):
    """Shows a question while there is one, else the message, else what the page says of itself."""

    DEFAULT_CSS = "PromptLine { height: 1; width: 1fr; }"

    def __init__(self, look: Look, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.look = look
        self.question: Question | None = None
        self.message: Sequence[Part] = ()
        self.status: Sequence[Part] = ()
        self._shown: object = None
        self._hint: tuple[Part, ...] = ()

    # Asking

    def ask(self, question: Question) -> None:
        """Begins to take keys."""
        self.question = question
        self.message = ()
        self.refresh()

    def close(self, *, keep: bool) -> None:
        """Ends the question and tells who asked."""
        question, self.question = self.question, None
        self.refresh()
        if question is not None:
            text = question.editor.text
            if keep and text and text not in question.history[-1:]:
                question.history.append(text)
                del question.history[:-MAX_HISTORY]
            question.done(text if keep else None)

    def type_key(self, key: str, character: str | None) -> None:
        """Does what a key means while something is typed."""
        question = self.question
        if question is None:
            return
        before = question.editor.text
        if key == "escape":
            self.close(keep=False)
            return
        if key == "enter":
            self.close(keep=True)
            return
        if key == "tab":
            self._complete(question)
        elif key in ("up", "down"):
            self._recall(question, -1 if key == "up" else 1)
        elif character is not None and character.isprintable():
            question.editor.insert(character)
        elif not question.editor.key(key):
            return
        if key != "tab":
            question.suggestion = -1
        self.refresh()
        if question.editor.text != before:
            question.changed(question.editor.text)

    def paste(self, text: str) -> None:
        """Takes pasted text."""
        if self.question is not None:
            self.question.editor.insert(text)
            self.refresh()
            self.question.changed(self.question.editor.text)

    # Saying

    def say(self, message: Sequence[Part]) -> None:
        """Shows a message until the next one."""
        self.message = tuple(message)
        self._refresh_if_changed()

    def set_status(self, status: Sequence[Part]) -> None:
        """What is shown when nothing else is."""
        self.status = tuple(status)
        self._refresh_if_changed()

    def refresh_hint(self) -> None:
        """Draws the question anew when its hint says something else now."""
        hint = tuple(self.question.hint()) if self.question is not None else ()
        if hint != self._hint:
            self.refresh()

    def set_look(self, look: Look) -> None:
        """Draws with other colours."""
        self.look = look
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The line."""
        look, width = self.look, self.size.width
        question = self.question
        if question is None:
            parts = shorten(self.message or self.status, width - 1, look.glyphs.more)
            return line([(" ", look.text), *parts], width, look.ground)
        editor = question.editor
        self._hint = tuple(question.hint())
        hint = [*self._hint, (" ", look.raised)]
        room = max(8, width - width_of(question.sign) - 4 - sum(width_of(text) for text, _ in hint))
        before = cut_left(editor.text[: editor.position], room, look.glyphs.more)
        under = editor.text[editor.position : editor.position + 1] or " "
        parts = [
            (f" {question.sign}", look.raised_accent),
            (before, look.raised),
            (under, look.cursor_block),
            (editor.text[editor.position + 1 :], look.raised),
        ]
        offered = question.offered[2]
        if 0 <= question.suggestion < len(offered) and len(offered) > 1:
            others = [text for index, text in enumerate(offered) if index != question.suggestion]
            parts.append((f"   {'  '.join(others[:6])}", look.raised_quiet))
        shown = line(parts, width, look.raised)
        return spread(parts, hint, width, look.raised) if hint else shown

    def _refresh_if_changed(self) -> None:
        shown = (self.message, self.status)
        if shown != self._shown:
            self._shown = shown
            if self.question is None:
                self.refresh()

    def _complete(self, question: Question) -> None:
        """Puts the next suggestion in the place of the word at the cursor."""
        if question.complete is None:
            return
        if question.suggestion < 0:
            start, end, texts = question.complete(question.editor.text, question.editor.position)
            question.offered = (start, end, texts)
        start, end, texts = question.offered
        if not texts:
            return
        question.suggestion = (question.suggestion + 1) % len(texts)
        text = texts[question.suggestion]
        question.editor.replace(start, end, text)
        question.offered = (start, start + len(text), texts)

    def _recall(self, question: Question, step: int) -> None:
        """Goes through what was typed before."""
        texts = [*question.history, ""]
        here = texts.index(question.editor.text) if question.editor.text in texts else len(texts) - 1
        text = texts[max(0, min(len(texts) - 1, here + step))]
        question.editor.text, question.editor.position = text, len(text)
