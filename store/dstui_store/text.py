"""Text from outside, made safe for a terminal: `clean` for fields, `LogParser` for output of commands.

Names, notes, tags, paths, log lines and messages may come from a teammate, a script or a file name, and a terminal
obeys control sequences in them. Stored bytes stay exact; what people see goes through this file. Whatever goes in,
what comes out holds no character of the Unicode categories Cc, Cf, Cs, Co, Cn, Zl, Zp, nothing that hides or has no
width of its own, and a newline only where it was asked for.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple, Never, Self

DEFAULT_LIMIT = 4096
"""Characters of a field or of a log line that are shown, unless the caller says otherwise."""

TAB_STOP = 8
"""Cells between two tab stops."""

MAX_SGR_PARAMETERS = 16
"""Parameters of one colour sequence that count; the rest are dropped, as terminals do."""

MAX_STATES_KEPT = 1000
"""Overwritten states of one log line that are remembered when they are asked for."""

MAX_MARKS = 4
"""Combining marks that one character may carry; more would be drawn over the lines above and below."""

REPLACEMENT = "\ufffd"
"""Stand-in for what has no picture of its own."""

_REPLACED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARK_CATEGORIES = frozenset({"Mn", "Me", "Mc"})
# Unicode calls these Default_Ignorable: letters and marks that are drawn as nothing at all.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]")
# Choose between the text and the emoji form of the character before them. Terminals disagree about the width then,
# so they are left out; after anything else they are hidden content and shown as such.
_PRESENTATION_SELECTORS = "\ufe0e\ufe0f"
# Only a printable text made of these alone takes the fast path: blocks without marks and without invisible letters.
_UNCOMMON = re.compile(
    "[^\u0020-\u007e\u00a1-\u02ff\u0370-\u0482\u048a-\u058f\u2010-\u205e\u2070-\u20cf\u2100-\u2bff\u3001-\u3029"
    "\u3030-\u3098\u309b-\u3163\u3165-\ua66e\uac00-\ud7a3\uff01-\uff9f\U0001f000-\U0001faff]"
)


class SafeText(str):
    """Text that any terminal shows as it stands; made by `clean` and by the functions of this file only."""

    __slots__ = ()

    def __new__(cls, *_arguments: Never, **_options: Never) -> Self:
        """Refuse: only `clean` knows that a text is safe."""
        raise TypeError("SafeText is made by clean(), so that no text skips it")

    def __init_subclass__(cls, **_options: object) -> None:
        raise TypeError("SafeText has no subclasses, so that isinstance is proof enough")

    def __copy__(self) -> SafeText:
        return self

    def __deepcopy__(self, _memo: dict[int, object]) -> SafeText:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickle may have been edited: it is cleaned again on its way in.
        return _clean_again, (str(self),)


def clean(value: object, *, multiline: bool = False, limit: int = DEFAULT_LIMIT) -> SafeText:
    """The text of any value, safe to show.

    Args:
        value: bytes are read as UTF-8; anything else by `str()`.
        multiline: keep newlines; otherwise a newline is shown as `␊`.
        limit: longest result in characters; a longer one ends in `…`.

    Returns:
        Text in which every replaced character takes one cell (`␛`, `␡`, `�`) and tabs are spaces.
    """
    kind = type(value)
    if kind is str:
        text: str = value  # type: ignore[assignment]  # the line above says so
        if len(text) <= limit and text.isascii() and text.isprintable():
            return _made(text)
    elif kind is SafeText:
        safe: SafeText = value  # type: ignore[assignment]  # as above
        if len(safe) <= limit and (multiline or "\n" not in safe):
            return safe
        text = str(safe)
    else:
        text = _text_of(value)
    # Cut before the work as well as after it: what is shown is never shorter than one character per character,
    # save for presentation selectors, of which a text has at most every second one.
    shown = _visible(text[: 2 * limit + 2], multiline=multiline)
    if len(shown) > limit:
        shown = shown[: max(limit - 1, 0)] + "…"
    return _made(shown)


def raw(value: str | bytes) -> bytes:
    """The exact bytes of a text as it is stored, for files and pipes; never for a terminal.

    Raises:
        TypeError: `value` went through `clean`, so its bytes are gone.
    """
    if isinstance(value, SafeText):
        raise TypeError("The exact bytes of a SafeText are gone; ask the record for the raw field")
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def join_text(separator: SafeText, parts: Iterable[SafeText]) -> SafeText:
    """The parts joined; safe texts stay safe when they are put together."""
    return _made(str(_checked(separator)).join([_checked(part) for part in parts]))


def cell_width(text: str) -> int:
    """Terminal cells that the text takes; 2 for wide characters, 0 for combining marks."""
    if text.isascii():
        return len(text)
    return sum(map(_character_width, text))


def cut_text(text: SafeText, width: int) -> SafeText:
    """The text in at most `width` cells; a longer one ends in `…`. A multi-line text is the caller's to split."""
    _checked(text)
    if len(text) <= width and text.isascii():
        return text
    if width <= 0:
        return _made("")
    if cell_width(text) <= width:
        return text
    used = 0
    for index, character in enumerate(text):
        used += _character_width(character)
        if used > width - 1:
            return _made(str(text)[:index] + "…")
    return text


def fit_text(text: SafeText, width: int, *, right: bool = False) -> SafeText:
    """The text in exactly `width` cells: cut, or filled with spaces at its end (at its start with `right`)."""
    shown = cut_text(text, width)
    space = " " * (width - cell_width(shown))
    if not space:
        return shown
    return _made(space + shown if right else shown + space)


Colour = int | tuple[int, int, int]
"""A colour of a terminal: index into its 256 colours (0-15 are the theme's own), or red, green, blue of 0-255."""


@dataclass(frozen=True, slots=True)
class TextStyle:
    """How a piece of a log line was coloured. Blinking and hidden text is shown plainly."""

    foreground: Colour | None = None
    background: Colour | None = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    reverse: bool = False
    strike: bool = False


PLAIN = TextStyle()
"""No colour, no attribute."""


class StyleSpan(NamedTuple):
    """The characters `start` up to, not including, `end` of a line have `style`, which is never `PLAIN`."""

    start: int
    end: int
    style: TextStyle


class LogLine(NamedTuple):
    """One line of a command's output as it stood at last.

    Attributes:
        text: the last state of the line, without its newline; a long one ends in `…+N`, N = `hidden`.
        spans: its colours, ascending, not overlapping.
        states: how many texts the line showed in turn, each begun by a carriage return; 1 = never overwritten.
        hidden: characters beyond the limit that are not in `text`.
        earlier: the overwritten texts, oldest first; only from a parser that keeps them.
    """

    text: SafeText
    spans: tuple[StyleSpan, ...] = ()
    states: int = 1
    hidden: int = 0
    earlier: tuple[SafeText, ...] = ()


class LogParser:
    """Bytes of a command's output to lines; the chunks may be split anywhere, inside a sequence or a character.

    Colours (SGR) become spans and last until they are changed, over line ends too. A carriage return begins the line
    anew: what it showed before is counted, never mixed in. All other sequences, bells and backspaces are dropped; a
    newline ends an unfinished sequence, so a torn one cannot swallow what follows. Memory is bounded by the limit,
    whatever comes in. Not for use by two threads at once.
    """

    def __init__(self, *, limit: int = DEFAULT_LIMIT, keep_states: bool = False) -> None:
        """Start before the first byte.

        Args:
            limit: characters of a line that are kept.
            keep_states: fill `LogLine.earlier`.
        """
        self._limit = limit
        self._keep_states = keep_states
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._mode = _GROUND
        self._parameters = ""
        self._style = PLAIN
        self._pieces: list[tuple[str, TextStyle]] = []
        self._start_line()

    def feed(self, data: bytes) -> list[LogLine]:
        """The lines that these bytes complete."""
        return self._scan(self._decoder.decode(data))

    def pending(self) -> LogLine | None:
        """The line that has no end yet, as it stands now, or None when nothing was written since the last newline."""
        return self._line() if self._length or self._hidden else None

    def finish(self) -> LogLine | None:
        """The last line if it had no newline; afterwards the parser is as new."""
        self._scan(self._decoder.decode(b"", True))
        line = self.pending()
        self._decoder.reset()
        self._mode, self._parameters, self._style = _GROUND, "", PLAIN
        self._start_line()
        return line

    def _scan(self, text: str) -> list[LogLine]:
        lines: list[LogLine] = []
        position, end = 0, len(text)
        while position < end:
            if self._mode != _GROUND:
                position = self._sequence(text, position)
                continue
            run = _TEXT_RUN.match(text, position)
            if run is not None:
                self._write(run.group())
                position = run.end()
                continue
            colour = _WHOLE_SGR.match(text, position)
            if colour is not None:
                self._style = _sgr(self._style, colour.group(1))
                position = colour.end()
                continue
            character = text[position]
            position += 1
            if character == "\n":
                lines.append(self._line())
                self._start_line()
            elif character == "\r":
                self._returned = True
            elif character in _INTRODUCERS:
                self._mode, self._parameters = _INTRODUCERS[character], ""
            elif character not in _SILENT:
                self._write(character)
        return lines

    def _sequence(self, text: str, position: int) -> int:
        """Read on inside a control sequence; the position of the first character that does not belong to it."""
        if self._mode == _STRING:
            stop = _STRING_END.search(text, position)
            if stop is None:
                return len(text)
            self._mode = _STRING_ESCAPE if stop.group() == "\x1b" else _GROUND
            # A newline is left for the line it ends; every other stop is part of the sequence.
            return stop.start() if stop.group() == "\n" else stop.end()
        if self._mode == _CSI:
            run = _CSI_BODY.match(text, position)
            if run is not None:
                if len(self._parameters) < _MAX_PARAMETER_CHARACTERS:
                    self._parameters += run.group()
                return run.end()
            self._mode = _GROUND
            if "@" <= text[position] <= "~":
                if text[position] == "m" and len(self._parameters) < _MAX_PARAMETER_CHARACTERS:
                    self._style = _sgr(self._style, self._parameters)
                return position + 1
            return position
        character = text[position]
        if self._mode == _STRING_ESCAPE and character == "\\":
            self._mode = _GROUND
            return position + 1
        if self._mode != _ESCAPE_INTERMEDIATE and "\x1b" + character in _ESCAPED:
            self._mode, self._parameters = _ESCAPED["\x1b" + character], ""
            return position + 1
        if " " <= character <= "/":
            self._mode = _ESCAPE_INTERMEDIATE
            return position + 1
        self._mode = _GROUND
        return position + 1 if "0" <= character <= "~" else position

    def _start_line(self) -> None:
        self._pieces.clear()
        self._length = self._hidden = self._states = 0
        self._returned = False
        self._earlier: deque[SafeText] = deque(maxlen=MAX_STATES_KEPT)

    def _write(self, text: str) -> None:
        if self._returned:
            self._returned = False
            if self._length or self._hidden:
                if self._keep_states:
                    self._earlier.append(self._line().text)
                self._pieces.clear()
                self._length = self._hidden = 0
                self._states += 1
        room = self._limit - self._length
        if len(text) > room:
            self._hidden += len(text) - room
            text = text[:room]
        if text:
            self._length += len(text)
            self._pieces.append((text, self._style))

    def _line(self) -> LogLine:
        text, ends = "".join([piece for piece, _ in self._pieces]), None
        hidden = self._hidden
        if not (text.isprintable() and _UNCOMMON.search(text) is None):
            shown = _visible_pieces(text, multiline=False)
            ends = [0, *accumulate(map(len, shown))]
            text = "".join(shown)
            if len(text) > self._limit:
                # Tabs grew beyond the limit: leave out whole source characters, so that the count stays true.
                kept = next(index for index, end in enumerate(ends) if end > self._limit) - 1
                hidden += len(shown) - kept
                ends = [min(end, ends[kept]) for end in ends]
                text = text[: ends[kept]]
        spans = self._spans(ends)
        if hidden:
            text += f"…+{hidden}"
        return LogLine(_made(text), spans, self._states + 1, hidden, tuple(self._earlier))

    def _spans(self, ends: list[int] | None) -> tuple[StyleSpan, ...]:
        """Spans of the line; `ends` gives the place in the shown text for each place in the source, None = the same."""
        spans: list[StyleSpan] = []
        start = 0
        for piece, style in self._pieces:
            end = start + len(piece)
            if style != PLAIN:
                left, right = (start, end) if ends is None else (ends[start], ends[end])
                if spans and spans[-1].end == left and spans[-1].style == style:
                    left = spans.pop().start
                if left < right:
                    spans.append(StyleSpan(left, right, style))
            start = end
        return tuple(spans)


def parse_line(data: bytes, *, limit: int = DEFAULT_LIMIT, keep_states: bool = False) -> LogLine:
    """One line of a log on its own, with or without its newline; colours of lines before it are not known."""
    parser = LogParser(limit=limit, keep_states=keep_states)
    lines = parser.feed(data)
    last = parser.finish()
    return lines[0] if lines else last or LogLine(_made(""))


_GROUND, _STRING, _STRING_ESCAPE, _CSI, _ESCAPE, _ESCAPE_INTERMEDIATE = range(6)
_MAX_PARAMETER_CHARACTERS = 256

_TEXT_RUN = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f-\x9f]+")
# The usual colour sequence in one piece, so that it need not be read character by character.
_WHOLE_SGR = re.compile(r"\x1b\[([0-9;:]{0,64})m")
_CSI_BODY = re.compile(r"[ -?]+")
# ST, BEL, CAN and SUB end a string; a newline does here, so that a torn one ends with its line.
_STRING_END = re.compile("[\x07\x18\x1a\x1b\x9c\n]")
_SILENT = frozenset("\x07\x08\x0e\x0f\x18\x1a\x9c")
# The 7-bit and the 8-bit forms: CSI; DCS, SOS, OSC, PM, APC.
_ESCAPED = {"\x1b[": _CSI, "\x1bP": _STRING, "\x1bX": _STRING, "\x1b]": _STRING, "\x1b^": _STRING, "\x1b_": _STRING}
_ESCAPED["\x1b\x1b"] = _ESCAPE
_INTRODUCERS = {"\x1b": _ESCAPE, "\x9b": _CSI, "\x90": _STRING, "\x98": _STRING, "\x9d": _STRING, "\x9e": _STRING}
_INTRODUCERS["\x9f"] = _STRING

_SWITCHES: dict[int, dict[str, Any]] = {
    1: {"bold": True},
    2: {"dim": True},
    3: {"italic": True},
    4: {"underline": True},
    7: {"reverse": True},
    9: {"strike": True},
    21: {"underline": True},
    22: {"bold": False, "dim": False},
    23: {"italic": False},
    24: {"underline": False},
    27: {"reverse": False},
    29: {"strike": False},
    39: {"foreground": None},
    49: {"background": None},
    **{30 + index: {"foreground": index} for index in range(8)},
    **{40 + index: {"background": index} for index in range(8)},
    **{90 + index: {"foreground": 8 + index} for index in range(8)},
    **{100 + index: {"background": 8 + index} for index in range(8)},
}
_EXTENDED = {38: "foreground", 48: "background", 58: None}


@lru_cache(maxsize=1024)
def _sgr(style: TextStyle, parameters: str) -> TextStyle:
    """The style after one SGR sequence; what is not understood changes nothing."""
    if not re.fullmatch(r"[0-9;:]*", parameters):
        return style
    values: dict[str, Any] = {name: getattr(style, name) for name in TextStyle.__slots__}
    groups = parameters.split(";")[:MAX_SGR_PARAMETERS]
    index = 0
    while index < len(groups):
        numbers = [int(part or "0") for part in groups[index].split(":")[:MAX_SGR_PARAMETERS]]
        index += 1
        code = numbers[0]
        if code == 0:
            values = {name: getattr(PLAIN, name) for name in TextStyle.__slots__}
        elif code in _EXTENDED:
            arguments = numbers[1:]
            if not arguments:
                # The form with semicolons: the arguments are parameters of their own.
                count = {"5": 2, "2": 4}.get(groups[index], 1) if index < len(groups) else 0
                arguments = [int(part) if part.isdigit() else 0 for part in groups[index : index + count]]
                index += count
            elif len(arguments) == 5 and arguments[0] == 2:
                # 38:2:<colour space>:r:g:b
                del arguments[1]
            colour, target = _colour(arguments), _EXTENDED[code]
            if colour is not None and target is not None:
                values[target] = colour
        elif code == 4 and numbers[1:2] == [0]:
            values["underline"] = False
        else:
            values.update(_SWITCHES.get(code, {}))
    return TextStyle(**values)


def _colour(arguments: list[int]) -> Colour | None:
    if max(arguments, default=256) > 255:
        return None
    if len(arguments) == 2 and arguments[0] == 5:
        return arguments[1]
    if len(arguments) == 4 and arguments[0] == 2:
        return arguments[1], arguments[2], arguments[3]
    return None


def _made(text: str) -> SafeText:
    return str.__new__(SafeText, text)


def _checked(text: SafeText) -> SafeText:
    if type(text) is not SafeText:
        raise TypeError(f"{type(text).__name__} where SafeText belongs; clean() it first")
    return text


def _clean_again(text: str) -> SafeText:
    return clean(text, multiline=True, limit=max(len(text), 1))


def _text_of(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    try:
        return str(value)
    except ValueError:
        # Python refuses to write out an integer of thousands of digits.
        return f"<{type(value).__name__}>"


def _visible(text: str, *, multiline: bool) -> str:
    if multiline and "\r\n" in text:
        text = text.replace("\r\n", "\n")
    if text.isprintable() and _UNCOMMON.search(text) is None:
        return text
    return "".join(_visible_pieces(text, multiline=multiline))


def _visible_pieces(text: str, *, multiline: bool) -> list[str]:
    """What is shown for each character of the text: itself, a stand-in, spaces for a tab, or nothing."""
    pieces: list[str] = []
    column = marks = 0
    previous = ""
    for character in text:
        piece, width, kind = _shape(character)
        if kind != _MARK:
            marks = 0
        if kind == _OTHER:
            pass
        elif kind == _TAB:
            width = TAB_STOP - column % TAB_STOP
            piece = " " * width
        elif kind == _NEWLINE:
            if multiline:
                piece, width = "\n", -column
        elif kind == _MARK:
            marks += 1
            # A mark with nothing to sit on would change what stands before the field on the screen.
            if previous in ("", "\n") or marks > MAX_MARKS:
                piece, width = REPLACEMENT, 1
        elif not previous.isascii() and previous != REPLACEMENT:
            piece, width = "", 0
        column += width
        previous = piece
        pieces.append(piece)
    return pieces


_OTHER, _TAB, _NEWLINE, _MARK, _SELECTOR = range(5)


@lru_cache(maxsize=8192)
def _shape(character: str) -> tuple[str, int, int]:
    """What is shown for a character as a rule, the cells that takes, and the kind that decides the exceptions."""
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code), 1, {"\t": _TAB, "\n": _NEWLINE}.get(character, _OTHER)
    if code == 0x7F:
        return "\u2421", 1, _OTHER
    if character in _PRESENTATION_SELECTORS:
        return REPLACEMENT, 1, _SELECTOR
    category = unicodedata.category(character)
    if category in _REPLACED_CATEGORIES or _INVISIBLE.match(character):
        return REPLACEMENT, 1, _OTHER
    width = _character_width(character)
    return character, width, _OTHER if width else _MARK


@lru_cache(maxsize=8192)
def _character_width(character: str) -> int:
    if unicodedata.category(character) in _MARK_CATEGORIES or _JOINING_JAMO.match(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


# Vowels and final consonants of Hangul are drawn inside the block of the consonant before them.
_JOINING_JAMO = re.compile("[\u1160-\u11ff\ud7b0-\ud7ff]")
