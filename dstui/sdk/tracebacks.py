"""Finds Python tracebacks in the lines of a log, however printed: by several ranks, chained, nested, in boxes.

Pure, and safe for any text: each line is looked at a bounded number of times, and no pattern takes more than linear
time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

MAX_FRAMES = 400
"""Frames of one traceback that are kept, the innermost."""

MAX_CHAIN = 20
"""Exceptions of one chain that are kept."""

MAX_DETAIL_LINES = 8
"""Lines of a message after its first."""

MAX_NOISE_LINES = 60
"""Lines of others that may stand between two lines of one traceback."""

MAX_TRACEBACKS = 200
"""The last ones of a log."""

MAX_MESSAGE = 600
"""Characters of a message."""

_START = re.compile(r"^(?P<prefix>.{0,120}?)(?:Original |Exception Group )?Traceback \(most recent call last\):?\s*$")
_BOX = re.compile(r"^.{0,40}─ Traceback \(most recent call last\) ─")
_FRAME = re.compile(r'^\s*File "(?P<path>[^"]{1,1024})", line (?P<line>\d{1,9})(?:, in (?P<function>.{0,200}))?\s*$')
_BOX_FRAME = re.compile(r"^\s*│ (?P<path>[^\s:│]{1,1024}):(?P<line>\d{1,9}) in (?P<function>[^\s│]{1,200})")
_FAULT_FRAME = re.compile(r'^\s+File "(?P<path>[^"]{1,1024})", line (?P<line>\d{1,9}) in (?P<function>.{1,200})$')
_EXCEPTION = re.compile(r"^(?P<name>[A-Za-z_][\w.<>]{0,200})(?:: ?(?P<message>.*))?$")
_ERROR_NAME = re.compile(
    r".*(Error|Exception|Warning|Exit|Interrupt|Iteration|Group|Abort|Timeout|Empty|Full|Killed)\d*$"
)
_SYNTAX = re.compile(r"^(?P<name>SyntaxError|IndentationError|TabError): (?P<message>.*)$")
_RANK = re.compile(r"rank[ _:=]?(\d{1,5})", re.IGNORECASE)

IGNORED = "Exception ignored in"
"""Python says so of what happens while it cleans up, after the cause."""

DIRECT = "The above exception was the direct cause of the following exception:"
DURING = "During handling of the above exception, another exception occurred:"


@dataclass(frozen=True, slots=True)
class Frame:
    """One call: where in which file; `code` is the printed line, if there was one."""

    path: str
    line: int
    function: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Traceback:
    """One exception as it was printed.

    Attributes:
        exception: its name as printed, such as `torch.OutOfMemoryError`; empty when the log ends before it.
        frames: outermost first.
        detail: further lines of the message.
        prefix: what stood before each line, such as `[rank1]: `.
        first, last: numbers of its lines.
        cause: the exception that it followed from.
    """

    exception: str
    message: str
    frames: tuple[Frame, ...]
    detail: tuple[str, ...] = ()
    prefix: str = ""
    first: int = 0
    last: int = 0
    cause: Traceback | None = None

    @property
    def short_name(self) -> str:
        """The exception without its module."""
        return self.exception.rpartition(".")[2]

    @property
    def rank(self) -> int | None:
        """The rank that its prefix names."""
        found = _RANK.search(self.prefix)
        return int(found[1]) if found else None

    @property
    def text(self) -> str:
        """Name and message with its further lines."""
        return "\n".join([f"{self.exception}: {self.message}", *self.detail])


def find(lines: Sequence[str]) -> list[Traceback]:
    """The tracebacks of a log, in the order in which they end; a chain is one, its last exception, with causes."""
    found: list[Traceback] = []
    pending: dict[str, Traceback] = {}
    depths: dict[str, int] = {}
    covered = 0
    # Line by line, and not from the end of one to the next: those of several processes are mixed.
    for place in range(len(lines)):
        parsed = _at(lines, place, covered)
        if parsed is None:
            continue
        traceback, after = parsed
        covered = max(covered, after)
        if place and IGNORED in lines[place - 1]:
            continue
        cause = pending.pop(traceback.prefix, None)
        if cause is not None:
            # Of a chain too long the middle goes: the first and the last tell most.
            depth = depths.get(traceback.prefix, 0) + 1
            depths[traceback.prefix] = min(depth, MAX_CHAIN)
            traceback = replace(traceback, cause=cause if depth < MAX_CHAIN else cause.cause)
        else:
            depths[traceback.prefix] = 0
        if _goes_on(lines, after, traceback.prefix):
            pending[traceback.prefix] = traceback
        else:
            found.append(traceback)
    found += pending.values()
    return sorted(found, key=lambda item: item.last)[-MAX_TRACEBACKS:]


def _at(lines: Sequence[str], place: int, covered: int) -> tuple[Traceback, int] | None:
    """The traceback that starts at a line, and the number of the line after it; lines below `covered` are of others."""
    line = lines[place]
    if place >= covered and "File " in line:
        return _syntax_error(lines, place)
    if line.startswith("Fatal Python error: "):
        return _fault(lines, place)
    if "Traceback (most recent call last)" not in line:
        return None
    if _BOX.match(line):
        return _boxed(lines, place)
    start = _START.match(line)
    return None if start is None else _plain(lines, place, start["prefix"])


def _plain(lines: Sequence[str], start: int, prefix: str) -> tuple[Traceback, int]:
    head = f"{prefix[:-2]}| " if prefix.endswith("+ ") else prefix
    frames: list[Frame] = []
    noise = 0
    last = start
    place = start + 1
    while place < len(lines) and noise <= MAX_NOISE_LINES:
        text = _without(lines[place], head)
        if text is None:
            noise += 1
        elif (other := _START.match(text)) is not None:
            if not other["prefix"]:
                break
            noise += 1
        elif (frame := _FRAME.match(text)) is not None:
            frames.append(Frame(frame["path"], int(frame["line"]), (frame["function"] or "").strip()))
            last = place
        elif text[:1].isspace() or not text:
            if frames and frames[-1].code is None and last == place - 1 and text.strip():
                frames[-1] = replace(frames[-1], code=text.strip()[:200])
        elif (exception := _EXCEPTION.match(text)) is not None and _is_exception(exception):
            detail = _detail(lines, place + 1, head)
            return (
                _made(exception["name"], exception["message"] or "", frames, detail, prefix, start, place),
                place + 1 + len(detail),
            )
        elif text not in (DIRECT, DURING):
            noise += 1
        place += 1
    return Traceback("", "", tuple(frames[-MAX_FRAMES:]), (), prefix, start, last), last + 1


def _made(
    name: str, message: str, frames: list[Frame], detail: list[str], prefix: str, first: int, last: int
) -> Traceback:
    if not message and detail:
        message, detail = next(((text, detail[n + 1 :]) for n, text in enumerate(detail) if text.strip()), ("", []))
    kept = tuple(text[:MAX_MESSAGE] for text in detail if text.strip())
    return Traceback(name, message.strip()[:MAX_MESSAGE], tuple(frames[-MAX_FRAMES:]), kept, prefix, first, last)


def _is_exception(found: re.Match[str]) -> bool:
    """Whether a line names an exception, not a level of logging or a metric."""
    name = found["name"].rpartition(".")[2]
    if name.isupper() or not name[:1].isupper():
        return False
    return bool(_ERROR_NAME.match(name)) or found["message"] is None or "." in found["name"] or name[:1].isupper()


def _detail(lines: Sequence[str], start: int, head: str) -> list[str]:
    """The lines that go on with a message."""
    found: list[str] = []
    for place in range(start, min(len(lines), start + MAX_DETAIL_LINES)):
        text = _without(lines[place], head)
        if text is None or text in (DIRECT, DURING, '"""') or "Traceback (most recent call last)" in text:
            break
        # A message may begin with an empty line; later ones end it.
        if not text.strip() and any(line.strip() for line in found):
            break
        found.append(text)
    return found if any(line.strip() for line in found) else []


def _goes_on(lines: Sequence[str], start: int, prefix: str) -> bool:
    """Whether a chain goes on after an exception."""
    head = f"{prefix[:-2]}| " if prefix.endswith("+ ") else prefix
    for place in range(start, min(len(lines), start + MAX_NOISE_LINES)):
        text = _without(lines[place], head)
        if text is None or not text.strip() or text.strip() == '"""':
            continue
        return text.strip() in (DIRECT, DURING)
    return False


def _without(line: str, head: str) -> str | None:
    """The line without the prefix of its process; None when it is another's."""
    if not head:
        return line
    if line.startswith(head):
        return line[len(head) :]
    return "" if line.rstrip() == head.rstrip() else None


def _syntax_error(lines: Sequence[str], place: int) -> tuple[Traceback, int] | None:
    """A script that Python cannot read: it is named without a heading."""
    frame = _FRAME.match(lines[place])
    if frame is None or frame["function"] is not None:
        return None
    for end in range(place + 1, min(len(lines), place + 5)):
        found = _SYNTAX.match(lines[end])
        if found is not None:
            code = lines[place + 1].strip()[:200] if end > place + 1 else None
            frames = [Frame(frame["path"], int(frame["line"]), "", code)]
            return _made(found["name"], found["message"], frames, [], "", place, end), end + 1
    return None


def _fault(lines: Sequence[str], place: int) -> tuple[Traceback, int]:
    """What faulthandler prints: the innermost call first."""
    frames: list[Frame] = []
    end = place + 1
    seen_current = False
    while end < len(lines) and end - place < MAX_FRAMES:
        frame = _FAULT_FRAME.match(lines[end])
        if frame is not None:
            frames.append(Frame(frame["path"], int(frame["line"]), frame["function"].strip()))
        elif frames and seen_current:
            break
        seen_current = seen_current or lines[end].startswith(("Current thread", "Stack (most recent"))
        end += 1
    frames.reverse()
    message = lines[place].removeprefix("Fatal Python error: ")
    return _made("Fatal Python error", message, frames, [], "", place, max(place, end - 1)), end


def _boxed(lines: Sequence[str], place: int) -> tuple[Traceback, int]:
    """A traceback drawn in a box, as rich does it."""
    frames: list[Frame] = []
    end = place + 1
    while end < len(lines) and end - place < 10 * MAX_FRAMES and lines[end].lstrip()[:1] in ("│", "╰", "┌", "╭"):
        frame = _BOX_FRAME.match(lines[end])
        if frame is not None:
            frames.append(Frame(frame["path"], int(frame["line"]), frame["function"]))
        end += 1
    exception = _EXCEPTION.match(lines[end]) if end < len(lines) else None
    if exception is None:
        return Traceback("", "", tuple(frames[-MAX_FRAMES:]), (), "", place, end - 1), end
    detail = _detail(lines, end + 1, "")
    traceback = _made(exception["name"], exception["message"] or "", frames, detail, "", place, end)
    return traceback, end + 1 + len(detail)
