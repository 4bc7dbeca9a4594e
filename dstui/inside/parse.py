"""Find the metrics in the lines that a script prints, and write them to the journal `<rank 0>-stdout`.

Standard library only, Python 3.9, run by path or as `dstui.inside.parse`. Precision comes before recall: a number that
is no metric costs trust, one that is missed costs a line of code.

A line gives **fields** (`loss=0.3`, `val loss: 0.3`, `| ppl 250.4 |`, a printed dict of numbers) and a **position**:

- a step word with a number (`step 250`, `iter: 10`, `global_step=7`, `Episode 3`): that step. Counted anew in each
  epoch, it goes on from the last one;
- an epoch and a place in it (`Train Epoch: 1 [640/4000 (16%)]`, `| epoch 1 | 20/ 272 batches`, `Epoch: [0][10/5005]`,
  a progress bar): (epoch - first epoch seen) x total + place. Without an epoch, a place that starts over counts as one;
- an epoch alone: the epoch. One with a decimal point (Hugging Face) is a metric itself and gives no step.

A name becomes a metric at its third line with a growing position; its first two points are then added. Without a
position, or at the end of the output, only well-known results (`loss`, `test accuracy`, ..) count. A line that says no
more than `Epoch 3/10` gives its position to the results on the lines after it. Names are lower case, words joined by
`_`, with a unit at the end (`time 48ms`: `time_ms`) and, if the line has one, `val`, `test` or `eval` in front. Of
equal positions in a row the first counts, so four ranks that print the same give one point.

Every pattern is linear in the length of the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING or __package__:
    from dstui.inside.journal import LARGEST_STEP, JournalWriter
else:
    # Run by path: the folder of this file is on `sys.path`.
    from journal import LARGEST_STEP, JournalWriter

LINE_BYTES = 4_096
"""Of a longer line only this much is looked at."""

LINES_PER_SECOND = 300
"""Lines with numbers looked at within a second; of more, one in `SAMPLED`."""

SAMPLED = 16
"""How many lines one stands for past `LINES_PER_SECOND`."""

REDRAW_SECONDS = 0.1
"""Of texts that overwrite each other by carriage return, the last in this time counts."""

LINES_TO_BELIEVE = 3
"""Lines with a growing position before a name is a metric."""

NAME_LIMIT = 1_000
"""Names followed at a time; a script that prints more different ones prints no metrics."""

NAME_LENGTH = 64
"""Longest name of a metric found in output."""

HEADER_LINES = 100
"""How many lines a line that is only a position speaks for."""

RESULT_WORDS = frozenset(
    "acc accuracy auc auroc bleu error f1 iou loss mae miou mse perplexity ppl precision recall reward rmse score "
    "wer".split()
)
"""Names of results that need no position."""

MODIFIERS = frozenset(
    "avg average best dev epoch eval evaluation final macro mean micro overall running test top total train training "
    "val valid validation weighted".split()
)
"""Words that may stand beside them."""

STEP_WORDS = r"global[_ ]step|num_updates|(?:total_)?timesteps?|steps?|iterations?|iters?|episodes?|updates?|rounds?"
"""Words whose number is a position in the whole training."""

NO_METRIC = frozenset(
    "batch batches cpu device epoch epochs eta episode episodes fold gpu id idx index iter iteration iterations iters "
    "job line pass patience pid port rank remaining seed step steps time_left trial update updates v_num version "
    "worker".split()
)
"""Last words of names that number things."""

SENTENCE_WORDS = frozenset(
    "a after all and are as at by each every for from has have in into of on only or spent "
    "take takes than the to took using was with".split()
)
"""Words before a number in a sentence; a name does not end with one."""

_EXPONENT = r"(?:[eE][-+]?\d{1,4})?"
_NUMBER = (
    rf"[-+]?(?:(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d{{1,30}})(?:\.\d{{0,30}})?{_EXPONENT}|\.\d{{1,30}}{_EXPONENT}"
    r"|(?i:nan|inf(?:inity)?))"
)
_UNIT = r"(?:%|[mµu]?s|secs?|seconds?|mins?|minutes?|hours?|h|[A-Za-z]{1,8}/(?:s|sec|step|it)|[kKMGT]i?B(?:/s)?|B)"
_END = r"(?=[\s,;|)\]}>]|\.?$|\.\s)"
_WORD = r"[A-Za-z_][\w@/.%\-']*"

_WIDE_GAP = re.compile(r"\s{9,}")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_CANDIDATE = re.compile(rb"\d")
_HINT = re.compile(rb"[:=|{\t]|step|epoch|iter|episode|loss|acc", re.IGNORECASE)
_RANK = re.compile(r"\s*\[(?:rank|default)\s*(\d+)\]:?\s?")
_LOG_PREFIX = re.compile(
    r"\s*(?:"
    r"\[?\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[ T,]+\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?\]?"
    r"|\[?\d{1,2}/\d{1,2}(?:/\d{2,4})?[ ,]+\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?: [AP]M)?\]?"
    r"|\[?\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?\]?"
    r"|[IWE]\d{4} \d\d:\d\d:\d\d\.\d{1,9}\s+\d+ [\w.]+:\d+\]"
    r"|(?:DEBUG|INFO):[\w.]{1,64}:(?=\S)"
    r"|\[?(?:DEBUG|INFO|NOTICE)\]?(?=[\s:|\]-])"
    r"|(?:root|__main__|[A-Za-z_]\w*(?:\.\w+)+)(?::\d+|\[\d+\])?(?=[\s:|\]-])"
    r")[\s:|\-]*"
)
_TROUBLE = re.compile(
    r"\b(?:WARN|WARNING|ERROR|CRITICAL|FATAL)\b|Warning:|(?<=[a-z])Error: |^[WEF]\d{4} \d\d:|^\[W\d{3,4} |^\[CV[ \d]"
)
_WRAPPED = re.compile(rf"\b(?:tensor|np\.float\d+|np\.int\d+|array)\(\s*({_NUMBER})\s*(?:,[^()]*)?\)")
_DICT = re.compile(r"\{[^{}]*\}")
_DICT_ITEM = re.compile(
    rf"\s*(?:'([^']{{1,100}})'|\"([^\"]{{1,100}})\")\s*:\s*(?:({_NUMBER})|'({_NUMBER})'|\"({_NUMBER})\")\s*(?:,|$)"
)
_UNIT_OF_NAME = re.compile(r"([A-Za-z]) ?\(([mµu]?s|secs?|min|h|[kMG]i?B)\)(?=\s*[:=|]|\s+[\d.])")
_SHARE = re.compile(r"\(\s*[\d.]{1,10}\s*%\s*\)")
_PARENTHESES = re.compile(r"(\w?)\([^()]*\)")
_BRACKETS = re.compile(r"\[[^\[\]]*\]")
_BAR = re.compile(r"(\d{1,3})%\|")
_BAR_COUNT = re.compile(r"[^|]*\|\s*(\d{1,18})/(\d{1,18})\s*\[([^\]]*)\]?")
_KERAS = re.compile(r"\s*(\d{1,18})/(\d{1,18})\s+(?:\[[=>.\s]*\]|[━ ]*━[━ ]*)")
_EPOCH = re.compile(
    r"(?<![\w/-])(?:epoch|ep)(?:\s*[:=#]\s*|\s*(?=\[)|\s+)\[?\s*(\d{1,9})(\.\d{1,9})?(?![\w%-]|\.\d|:\d)\s*(?:(?:/|of)\s*\d{1,9})?\s*\]?",
    re.IGNORECASE,
)
_STEP = re.compile(
    rf"(?<![\w/-])({STEP_WORDS}|batch(?:es)?|it)(?:\s*[:=#]\s*|\s*(?=\[)|\s+)\[?\s*(\d{{1,18}})(?![\w%]|[.,]\d|:\d)"
    r"\s*(?:(?:/|of)\s*(\d{1,18})(?![\w%]|[.,]\d))?\s*\]?",
    re.IGNORECASE,
)
_PLACE = re.compile(r"\[\s*(\d{1,18})\s*/\s*(\d{1,18})\s*\]")
_EPOCH_AND_PLACE = re.compile(r"\[\s*(\d{1,9})(?:\s*/\s*\d{1,9})?\s*\]\s*\[\s*(\d{1,18})\s*/\s*(\d{1,18})\s*\]")
_EPOCH_COMMA_STEP = re.compile(r"\s*\[\s*(\d{1,9})\s*,\s*(\d{1,18})\s*\]\s*(?=[A-Za-z])")
_LINE_NUMBER = re.compile(r"\s*(?:\[(\d{1,18})\]|(\d{1,18})(?::(?=\t)|\s*\|))\s*(?=[A-Za-z])")
_DURATION = re.compile(r"\b(?:eta|elapsed|remaining)\s*[:=]?\s*(?:\d+ days?, )?\d+:\d\d(?::\d\d)?", re.IGNORECASE)
_PLACE_OF_BATCHES = re.compile(r"(?<![\w./])(\d{1,18})\s*/\s*(\d{1,18})\s*(?:batches|steps|iters)\b")
_BARE_PLACE = re.compile(r"[\s:|,-]*(\d{1,18})\s*/\s*(\d{1,18})(?![\w./%])\s*(?:batches|steps|iters|it)?")
_SCOPE = re.compile(
    r"[\s*#=>|\[(-]*(train|training|val|valid|validation|test|testing|eval|evaluation|dev)"
    r"(?:[ _](?:set|split|results?|metrics))*\s*(?:[:|\]>)]|(?=\s*\[)|(?=\s+epoch\b)|-+\s)",
    re.IGNORECASE,
)
_SCOPE_WORD = re.compile(r"\s*(train|train_inner|val|valid|validation|test|eval|evaluation|dev)\s*", re.IGNORECASE)
_SCOPE_EPOCH = re.compile(r"\s*(\d{1,9})\s+(?=\[\s*\d+\s*/)")
_FRAGMENTS = re.compile(r"[|\t;]|,(?=\s|$|[A-Za-z_])| -+ |\s{3,}(?=[A-Za-z])")
_FIELD = re.compile(rf"[:=]\s*(?:({_NUMBER})\s?({_UNIT})?{_END}|(\d{{1,18}})\s*/\s*(\d{{1,18}})(?![\w./]))")
_VALUE = re.compile(rf"({_NUMBER})({_UNIT})?")
_UNIT_ONLY = re.compile(_UNIT)
_TIME = re.compile(r"time|elapsed|_(?:s|ms|us|minutes|hours)$")
_ONLY_WORDS = re.compile(r"\s+[A-Za-z][A-Za-z ,.!]*")
_NAME = re.compile(_WORD)
_WORDS = re.compile(r"[_ ]+")
_PARTS = re.compile(r"[_/.\-@' ]+")

_SCOPES = {
    "train": "",
    "training": "",
    "train_inner": "",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "eval": "eval",
    "evaluation": "eval",
    "dev": "dev",
}
_UNIT_NAMES = {
    "%": "percent",
    "sec": "s",
    "secs": "s",
    "second": "s",
    "seconds": "s",
    "min": "minutes",
    "mins": "minutes",
    "minute": "minutes",
    "hour": "hours",
    "h": "hours",
    "µs": "us",
}


class Position(NamedTuple):
    """Where in the training a line stands, as far as it says.

    Attributes:
        epoch: with its decimals, or None.
        decimal: the epoch was printed with a decimal point.
        step: number after a step word, or place in the epoch, or None.
        total: places in one epoch, or None.
    """

    epoch: float | None = None
    decimal: bool = False
    step: int | None = None
    total: int | None = None


class Line(NamedTuple):
    """What a line says.

    Attributes:
        position: None when it has none.
        scope: `val`, `test`, `eval`, `dev`, or empty (training, or not said).
        fields: name and value, in order; names already carry scope and unit.
        bar: it is a progress bar of Keras, which leaves the epoch to an earlier line.
        sums_up: it starts with a star, and so gives the averages of the lines before it (PyTorch's meters).
    """

    position: Position | None
    scope: str
    fields: list[tuple[str, float]]
    bar: bool = False
    sums_up: bool = False


NOTHING = Line(None, "", [])


class OutputMetrics:
    """Reads the output of a run as it passes and writes what it finds to a journal. Not thread-safe.

    Args:
        journal_directory: the `journal` folder of the run.

    Attributes:
        sampled_lines: lines that were not looked at because too many came in a second; the caller may say so.
    """

    def __init__(self, journal_directory: str) -> None:
        self.sampled_lines = 0
        self._journal = JournalWriter(journal_directory, 0, "stdout")
        self._rest = b""
        self._overlong = False
        self._redraw: bytes = b""
        self._redraw_at = -REDRAW_SECONDS
        self._second = 0.0
        self._lines = 0
        self._time = 0.0
        self._steps = _Steps()
        self._names: dict[str, _Name] = {}

    def feed(self, data: bytes, now: float) -> None:
        """Take in a piece of output, cut anywhere.

        Args:
            data: bytes as the command wrote them.
            now: seconds since the epoch.
        """
        if b"\b" in data:
            data = data.replace(b"\b", b"\r")
        lines = data.split(b"\n")
        for part in lines[:-1]:
            self._add(part)
            self._end_line(now)
        self._add(lines[-1])
        # Progress bars may go on for hours without a newline; the last byte waits, for it may be half of CR LF.
        index = self._rest.rfind(b"\r", 0, max(0, len(self._rest) - 1))
        if index >= 0:
            drawn, self._rest = self._rest[:index], self._rest[index + 1 :]
            self._draw(drawn.rstrip(b"\r").rpartition(b"\r")[2], now)

    def close(self) -> None:
        """Take in what is left, and write the results that were seen too rarely to be sure."""
        if self._redraw:
            self._look(self._redraw, self._time)
        self._redraw = b""
        self._end_line(self._time)
        for name, state in self._names.items():
            if not state.believed and is_result(name):
                for point in state.pending:
                    self._write(name, point)
        self._names.clear()
        self._journal.close()

    def _add(self, part: bytes) -> None:
        if self._overlong:
            return
        rest = self._rest + part if self._rest else part
        if len(rest) > LINE_BYTES and b"\r" not in rest:
            rest = rest[:LINE_BYTES]
            self._overlong = True
        self._rest = rest

    def _draw(self, text: bytes, now: float) -> None:
        """A text that the next one overwrites."""
        if not text:
            return
        self._redraw = text
        if now - self._redraw_at >= REDRAW_SECONDS:
            self._redraw_at = now
            self._redraw = b""
            self._look(text, now)

    def _end_line(self, now: float) -> None:
        text = self._rest.rstrip(b"\r")
        self._rest = b""
        self._overlong = False
        text = text.rpartition(b"\r")[2]
        if text:
            self._redraw = b""
            self._look(text, now)
        elif self._redraw:
            self._look(self._redraw, now)
            self._redraw = b""

    def _look(self, raw: bytes, now: float) -> None:
        raw = raw[:LINE_BYTES]
        if _CANDIDATE.search(raw) is None or _HINT.search(raw) is None:
            self._steps.lines_since_header += 1
            return
        if not 0 <= now - self._second < 1:
            self._second = now
            self._lines = 0
        self._lines += 1
        if self._lines > LINES_PER_SECOND and self._lines % SAMPLED:
            self.sampled_lines += 1
            return
        self._take(parse(raw.decode("utf-8", "replace")), now)

    def _take(self, line: Line, now: float) -> None:
        steps = self._steps
        steps.lines_since_header += 1
        place = steps.place(line)
        sure: dict[str, float]
        points: dict[str, float] = {}
        for name, value in line.fields:
            # The second of a name in one line stands for something that the line says in another way.
            if len(name) <= NAME_LENGTH:
                points.setdefault(name, value)
        if not points:
            return
        if line.position is not None and line.position.decimal and line.position.epoch is not None:
            points["epoch"] = line.position.epoch
        if place is None and (line.sums_up or line.bar):
            # A bar of Keras without an epoch evaluates.
            scope, step = steps.last if line.sums_up else ("eval", None)
            sure = {_scoped(name, scope): value for name, value in points.items() if is_result(name)}
            if sure:
                self._write_all(sure, step, now)
            return
        # `batch_size=64: acc=0.9` says for which settings, not when.
        if place is None and not all(is_result(name) or _TIME.search(name) is not None for name in points):
            return
        sure = {}
        for name, value in points.items():
            state = self._names.get(name)
            if state is None:
                if len(self._names) >= NAME_LIMIT:
                    continue
                state = self._names[name] = _Name()
            if place is None:
                # A name with positions has its curve; what has none, the average of a test, would bend it.
                if is_result(name) and not state.believed and state.is_new(value, now):
                    self._write(name, _Point(0.0, None, value, now))
                continue
            if place.borrowed:
                if is_result(name) and state.is_new_place(place.order):
                    sure[name] = value
                continue
            if state.believed:
                if state.is_new_place(place.order):
                    state.step = place.step
                    sure[name] = value
            elif state.believe(_Point(place.order, place.step, value, now)):
                state.step = place.step
                for point in state.pending[:-1]:
                    self._write(name, point)
                state.pending.clear()
                sure[name] = value
        if sure and place is not None:
            self._write_all(sure, place.step, now)

    def _write(self, name: str, point: _Point) -> None:
        self._write_all({name: point.value}, point.step, point.time)

    def _write_all(self, values: dict[str, float], step: int | None, time: float) -> None:
        # Lines of one piece of output have the same time; theirs must differ to keep their order.
        self._time = max(time, self._time + 2e-6)
        self._journal.log(values, step, self._time)


class _Point(NamedTuple):
    order: float
    step: int | None
    value: float
    time: float


class _Place(NamedTuple):
    """A position as a number that grows, and as a step; `borrowed` from an earlier line that was only a position."""

    order: float
    step: int | None
    borrowed: bool = False


class _Name:
    """What is known of one name."""

    __slots__ = ("_order", "_seen_at", "_value", "believed", "pending", "step")

    def __init__(self) -> None:
        self.believed = False
        self.pending: list[_Point] = []
        self.step: int | None = None
        self._order: float | None = None
        self._value: float | None = None
        self._seen_at = 0.0

    def is_new_place(self, order: float) -> bool:
        """Whether the position differs from that of the line before."""
        if order == self._order:
            return False
        self._order = order
        return True

    def is_new(self, value: float, now: float) -> bool:
        """Whether a value without position is not just another rank's."""
        repeated = value == self._value and now - self._seen_at < 2
        self._value, self._seen_at = value, now
        return not repeated

    def believe(self, point: _Point) -> bool:
        """Add a point; whether it is the one that makes the name a metric."""
        if self.pending and point.order == self.pending[-1].order:
            return False
        if self.pending and point.order < self.pending[-1].order:
            self.pending.clear()
        self.pending.append(point)
        self._order = point.order
        if len(self.pending) < LINES_TO_BELIEVE:
            return False
        # An integer that grows as the position does only counts along: `configuration 3`, `port=29503`.
        ahead = {point.value - point.step for point in self.pending if point.step is not None}
        if len(ahead) == 1 and all(point.value.is_integer() for point in self.pending):
            self.pending.pop(0)
            return False
        self.believed = True
        return True


class _Steps:
    """Turns positions into steps that grow over the epochs."""

    def __init__(self) -> None:
        self.lines_since_header = HEADER_LINES
        # Scope and step of the last line with a position.
        self.last: tuple[str, int | None] = ("", None)
        self._first_epoch: float | None = None
        self._header: Position | None = None
        self._bar_total: int | None = None
        # Per scope: the last epoch, the last step as printed, and what earlier epochs add to it.
        self._counted: dict[str, tuple[float, int, int]] = {}
        # Per scope and total: the last place, and how often it started over.
        self._passes: dict[tuple[str, int], tuple[int, int]] = {}

    def place(self, line: Line) -> _Place | None:
        """The place of a line, or None; a line without fields may become the header of those after it."""
        position = line.position
        if position is None:
            header = self._header
            if header is None or self.lines_since_header > HEADER_LINES or not line.fields:
                return None
            order = self._order(header, line.scope)
            return None if order is None else order._replace(borrowed=True)
        is_epoch_alone = position.epoch is not None and position.step is None and not line.bar
        # `Epoch 3/10`, or with no more than a time beside it.
        if is_epoch_alone and not any(is_result(name) for name, _ in line.fields):
            self._header = position
            self._bar_total = None
            self.lines_since_header = 0
        if not line.fields:
            return None
        if line.bar:
            self._bar_total = self._bar_total or position.total
            if self._header is None or position.total != self._bar_total:
                return None
        if position.epoch is None and position.total is not None and self._header is not None:
            position = position._replace(epoch=self._header.epoch)
        place = self._order(position, line.scope)
        if place is not None:
            self.last = (line.scope, place.step)
        return place

    def _order(self, position: Position, scope: str) -> _Place | None:
        epoch, _, step, total = position
        if epoch is not None and self._first_epoch is None:
            self._first_epoch = epoch
        if step is None:
            if epoch is None:
                return None
            return _Place(epoch, None if position.decimal else int(epoch))
        if total:
            if epoch is None:
                last, passes = self._passes.get((scope, total), (0, 0))
                if step < last:
                    passes += 1
                self._passes[scope, total] = (step, passes)
                step += passes * total
            else:
                step += int(epoch - (self._first_epoch or 0)) * total
        elif epoch is not None:
            last_epoch, last, before = self._counted.get(scope, (epoch, 0, 0))
            if epoch > last_epoch and step <= last:
                before += last
            self._counted[scope] = (epoch, step, before)
            step += before
        if not -LARGEST_STEP <= step <= LARGEST_STEP:
            return None
        return _Place(float(step), step)


def parse(text: str) -> Line:
    """What one line says, by itself.

    Args:
        text: without its newline; of texts that overwrite each other only the last.
    """
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    # Patterns with two optional gaps side by side are linear only while gaps are short.
    text = _WIDE_GAP.sub("\t", text)
    text, wanted = _without_prefix(text)
    if not wanted:
        return NOTHING
    if "%|" in text:
        return _bar(text)
    match = _KERAS.match(text)
    if match is not None:
        fields = list(_fields(text[match.end() :], ""))
        return Line(Position(None, False, int(match[1]), int(match[2])), "", fields, bar=True)
    if "(" in text:
        text = _WRAPPED.sub(r"\1", text)
    named: list[tuple[str, float]] = []
    if "{" in text:
        text, named = _dict(text)
    if "(" in text:
        # Once more for a pair inside a pair. Glued to a word they are a call or `D(x)`, which no name may reach across.
        text = _UNIT_OF_NAME.sub(r"\1_\2", _SHARE.sub(" ", text))
        for _ in range(2):
            text = _PARENTHESES.sub(lambda match: "\0" if match[1] else " ", text)
    if ":" in text:
        text = _DURATION.sub("|", text)
    scope, text = _scope(text)
    position, text = _position(text)
    if position is not None and not scope:
        scope, text = _scope(text)
    if "[" in text or "]" in text:
        # `[D loss: 0.3]` is a field in a frame, `[0.1, 0.2]` a list.
        text = _BRACKETS.sub(lambda match: f"|{match[0][1:-1]}|" if _FIELD.search(match[0]) else " ", text)
        text = text.replace("[", "|").replace("]", "|")
    fields = [*_numbered(named, scope), *_fields(text, scope)]
    position, fields = _named_position(position, named, fields)
    return Line(position, scope, fields, sums_up=position is None and text.lstrip().startswith("*"))


def is_result(name: str) -> bool:
    """Whether a name is of a well-known result, such as `test_accuracy` or `val/f1`."""
    parts = [part.rstrip("0123456789") or part for part in _PARTS.split(name) if part]
    if parts and parts[-1] == "percent":
        parts.pop()
    known = [part in RESULT_WORDS or part + "1" in RESULT_WORDS for part in parts]
    return any(known) and all(is_known or part in MODIFIERS or part.isdigit() for part, is_known in zip(parts, known))


def _without_prefix(text: str) -> tuple[str, bool]:
    """A line without rank, time, level and logger; and whether it may hold metrics at all.

    It may not when it is of another rank, trouble, or one fold of a scikit-learn search.
    """
    match = _RANK.match(text)
    if match is not None:
        if int(match[1][:9]) != 0:
            return "", False
        text = text[match.end() :]
    if _TROUBLE.search(text) is not None:
        return "", False
    start = 0
    for _ in range(5):
        match = _LOG_PREFIX.match(text, start)
        if match is None:
            break
        start = match.end()
    return text[start:], True


def _dict(text: str) -> tuple[str, list[tuple[str, float]]]:
    """Takes out what stands in braces: the items of a dict of numbers that says where it is, or nothing."""
    items: list[tuple[str, float]] = []
    match = _DICT.search(text)
    if match is not None:
        inside = match[0][1:-1].strip()
        end = 0
        while end < len(inside):
            item = _DICT_ITEM.match(inside, end)
            if item is None:
                items.clear()
                break
            end = item.end()
            name = _joined((item[1] or item[2]).split())
            items.append((name, _float(item[3] or item[4] or item[5])))
        names = {name for name, _ in items}
        if not names & {"epoch", "step", "loss", "global_step", "iter", "iteration"}:
            items.clear()
    return _DICT.sub(" ", text), items


def _numbered(items: list[tuple[str, float]], scope: str) -> Iterator[tuple[str, float]]:
    for name, value in items:
        if name not in {"epoch", "step", "global_step", "iter", "iteration"}:
            yield _scoped(name, scope), value


def _named_position(
    position: Position | None, named: list[tuple[str, float]], fields: list[tuple[str, float]]
) -> tuple[Position | None, list[tuple[str, float]]]:
    """The position that a dict of numbers adds; its epoch counts as printed with decimals, as it is a float."""
    for name, value in named:
        if value != value or abs(value) > LARGEST_STEP:
            continue
        if name == "epoch":
            old = position or Position()
            position = old._replace(epoch=value, decimal=True)
        elif name in {"step", "global_step", "iter", "iteration"} and value.is_integer():
            old = position or Position()
            position = old._replace(step=int(value))
    if position is not None and position.step is not None and position.decimal:
        # The step is the better place; the epoch is then a metric like the others.
        assert position.epoch is not None
        fields = [*fields, ("epoch", position.epoch)]
        position = Position(None, False, position.step, position.total)
    return position, fields


def _bar(text: str) -> Line:
    """A tqdm progress bar: place, epoch of its description, and its postfix; never its speed."""
    percent = _BAR.search(text)
    if percent is None:
        return NOTHING
    count = _BAR_COUNT.match(text, percent.end())
    if count is None:
        return NOTHING
    description = text[: percent.start()]
    epoch = _EPOCH.search(description)
    match = _SCOPE.match(description)
    scope = _SCOPES[match[1].lower()] if match is not None else ""
    fields: list[tuple[str, float]] = []
    for item in count[3].split(", "):
        name, separator, value = item.partition("=")
        number = _VALUE.fullmatch(value.strip()) if separator else None
        if number is not None and _NAME.fullmatch(name.strip()) is not None:
            fields.extend(_named([name.strip()], number[1], number[2], scope))
    return Line(Position(float(epoch[1]) if epoch else None, False, int(count[1]), int(count[2])), scope, fields)


def _scope(text: str) -> tuple[str, str]:
    match = _SCOPE.match(text)
    if match is None:
        return "", text
    rest = text[match.end() :]
    scope = match[1].lower()
    # `Train: 0 [ 640/4000]` of timm: the word stands for the epoch as well.
    if _SCOPE_EPOCH.match(rest) is not None:
        rest = "epoch" + rest if rest[:1].isspace() else f"epoch {rest}"
    return _SCOPES[scope], rest


def _position(text: str) -> tuple[Position | None, str]:
    """The position of a line, and the line with a bar in its place."""
    pair = _EPOCH_AND_PLACE.search(text)
    if pair is not None:
        start = pair.start()
        word = re.compile(r"epoch\s*:?\s*$", re.IGNORECASE).search(text, max(0, start - 10), start)
        start = word.start() if word is not None else start
        position = Position(float(pair[1]), False, int(pair[2]), int(pair[3]))
        return position, f"{text[:start]}|{text[pair.end() :]}"
    pair = _EPOCH_COMMA_STEP.match(text)
    if pair is not None:
        return Position(float(pair[1]), False, int(pair[2])), text[pair.end() :]
    number = _LINE_NUMBER.match(text)
    if number is not None:
        return Position(None, False, int(number[1] or number[2])), text[number.end() :]
    epoch: float | None = None
    decimal = False
    match = _EPOCH.search(text)
    if match is not None:
        epoch, decimal = float(match[1] + (match[2] or "")), match[2] is not None
        rest = text[match.end() :]
        place = _PLACE.search(rest) or _BARE_PLACE.match(rest) or _PLACE_OF_BATCHES.search(rest)
        if place is not None:
            text = f"{text[: match.start()]}|{rest[: place.start()]}|{rest[place.end() :]}"
            return Position(epoch, decimal, int(place[1]), int(place[2])), text
        text = f"{text[: match.start()]}|{rest}"
    step, total, text = _step(text, epoch is not None)
    if epoch is None and step is None:
        place = _PLACE.search(text)
        if place is None:
            return None, text
        return Position(None, False, int(place[1]), int(place[2])), f"{text[: place.start()]}|{text[place.end() :]}"
    # Without an epoch beside it, `step 100/600` says how far the whole training is.
    return Position(epoch, decimal, step, total if epoch is not None else None), text


def _step(text: str, has_epoch: bool) -> tuple[int | None, int | None, str]:
    step = total = None
    for match in _STEP.finditer(text):
        is_place = match[1].lower().startswith(("batch", "it")) and not match[1].lower().startswith("iter")
        # `batch 64` alone is a size.
        if is_place and match[3] is None and not has_epoch:
            continue
        step, total = int(match[2]), int(match[3]) if match[3] else None
        text = f"{text[: match.start()]}|{text[match.end() :]}"
        break
    return step, total, text


def _fields(text: str, scope: str) -> Iterator[tuple[str, float]]:
    """The named numbers of a line that has lost its position."""
    for fragment in _FRAGMENTS.split(text):
        if not fragment:
            continue
        match = _SCOPE_WORD.fullmatch(fragment)
        if match is not None:
            scope = scope or _SCOPES[match[1].lower()]
            continue
        end = 0
        for field in _FIELD.finditer(fragment):
            before = fragment[end : field.start()]
            end = field.end()
            words, rest = _words(before)
            if not words:
                continue
            # `loss 0.3 lr=0.1`: one of the ways to write it, then another.
            yield from _pairs(rest, scope)
            if field[3] is None:
                # `length: 518 chars` counts something; only a result may have words behind it.
                if _ONLY_WORDS.fullmatch(fragment, end) is None or is_result(_joined(words)):
                    yield from _named(words, field[1], field[2], scope)
            elif is_result(_joined(words)) and float(field[4]):
                # `Accuracy: 9826/10000`
                yield from _named(words, str(int(field[3]) / int(field[4])), None, scope)
        yield from _pairs(fragment[end:], scope)


def _words(text: str) -> tuple[list[str], str]:
    """The words of a name that ends a text, and the text before it; a sentence has no name.

    One or two words; more if they are all there is (`elapsed time per iteration`), or if all but the last are such as
    stand before results (`new best val accuracy`: the last three).
    """
    tokens = text.split()
    words: list[str] = []
    while tokens and len(words) < 4 and _NAME.fullmatch(tokens[-1]) is not None:
        if words and tokens[-1].endswith("."):
            break  # The end of a sentence before.
        words.insert(0, tokens.pop())
    while words and words[-1].lower() in {"is", "was"}:
        words.pop()
    if len(words) > 2:
        start = len(words) - 1
        while start and words[start - 1].lower() in MODIFIERS:
            start -= 1
        is_whole = not tokens and SENTENCE_WORDS.isdisjoint(word.lower() for word in words)
        if words[-1].lower() not in RESULT_WORDS and not is_whole:
            return [], ""
        words = words if is_whole else words[start:]
    return words, " ".join(tokens)


def _pairs(fragment: str, scope: str) -> Iterator[tuple[str, float]]:
    """Names and numbers in turn, without a sign between them, and nothing else."""
    tokens = fragment.strip(" *=>#.:-").split()
    if len(tokens) < 2:
        return
    words: list[str] = []
    found: list[tuple[list[str], str, str | None]] = []
    for token in tokens:
        if _NAME.fullmatch(token) is not None and token.lower() not in {"nan", "inf"}:
            # A unit that stands off its number.
            if not words and found and found[-1][2] is None and _UNIT_ONLY.fullmatch(token) is not None:
                found[-1] = (found[-1][0], found[-1][1], token)
            elif not words or token.lower() not in {"is", "was"}:
                words.append(token)
            continue
        number = _VALUE.fullmatch(token)
        if number is None or not 1 <= len(words) <= 2:
            return
        found.append((words, number[1], number[2]))
        words = []
    if words:
        return
    for words, number_text, unit in found:
        yield from _named(words, number_text, unit, scope)


def _named(words: list[str], number: str, unit: str | None, scope: str) -> Iterator[tuple[str, float]]:
    """One field, unless its name numbers things or ends a sentence."""
    name = _joined(words)
    last = _WORDS.split(name)[-1]
    if name in NO_METRIC or last in NO_METRIC or not SENTENCE_WORDS.isdisjoint((words[0].lower(), words[-1].lower())):
        return
    if unit:
        suffix = _UNIT_NAMES.get(unit, unit.lower().replace("/", "_per_"))
        if last != suffix:
            name = f"{name}_{suffix}"
    yield _scoped(name, scope), _float(number)


def _joined(words: list[str]) -> str:
    return "_".join(words).lower().rstrip(".-/'").replace("'s_", "_")


def _scoped(name: str, scope: str) -> str:
    if not scope or any(part in _SCOPES for part in _PARTS.split(name)):
        return name
    return f"{scope}_{name}"


def _float(number: str) -> float:
    return float(number.replace(",", ""))
