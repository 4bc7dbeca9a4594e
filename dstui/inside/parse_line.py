"""What one printed line says by itself: its position in the training, and its named numbers.

Standard library only, Python 3.9, run by path or as `dstui.inside.parse_line`.

Fields are `loss=0.3`, `val loss: 0.3`, `| ppl 250.4 |`, `Train/Valid Acc: 0.9/0.8`, `loss at step 5: 0.3`, the postfix
of a progress bar and a printed dict of numbers. Every pattern is linear in the length of the line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING or __package__:
    from dstui.inside.journal import (
        LARGEST_STEP,
    )
    from dstui.inside.parse_fields import (
        FIELD,
        VALUE,
        add_field,
        read_fields,
    )
    from dstui.inside.parse_position import (
        EPOCH,
        SCOPE,
        STEP_WORDS,
        Position,
        find_position,
        find_scope,
    )
    from dstui.inside.parse_words import (
        EXPONENT,
        NUMBER,
        SCOPES,
        WORD,
        Field,
        is_name,
        is_result,
        is_time,
        joined,
        number,
        scoped,
        unit_name,
    )
else:
    # Run by path: the folder of this file is on `sys.path`.
    from journal import (
        LARGEST_STEP,
    )
    from parse_fields import (
        FIELD,
        VALUE,
        add_field,
        read_fields,
    )
    from parse_position import (
        EPOCH,
        SCOPE,
        STEP_WORDS,
        Position,
        find_position,
        find_scope,
    )
    from parse_words import (
        EXPONENT,
        NUMBER,
        SCOPES,
        WORD,
        Field,
        is_name,
        is_result,
        is_time,
        joined,
        number,
        scoped,
        unit_name,
    )

STEP_KEYS = frozenset("step global_step iter iteration num_updates timesteps total_timesteps".split())
"""Keys of a printed dict that say where it is."""

_DECIMAL = rf"[-+]?\d{{0,30}}(?:\.\d{{1,30}}{EXPONENT}|\d[eE][-+]?\d{{1,4}})|nan"

_WIDE_GAP = re.compile(r"\s{9,}")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_RANK = re.compile(
    r"\s*(?:\[(?:rank|default)\s*(\d{1,9})\]:?|\[\d+,(?:mpirank:)?(\d{1,9})(?:,[\w.-]{1,64})?\](?:<std(?:out|err)>:?|:))\s?"
)
_LOG_PREFIX = re.compile(
    r"\s*(?:"
    r"\[?\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[ T,]+\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?\]?"
    r"|\[?\d{1,2}/\d{1,2}(?:/\d{2,4})?[ ,]+\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?: [AP]M)?\]?"
    r"|\[?\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?\]?"
    r"|[IWE]\d{4} \d\d:\d\d:\d\d\.\d{1,9}\s+\d+ [\w.]+:\d+\]"
    r"|(?:DEBUG|INFO):[\w.]{1,64}:(?=\S)"
    r"|\[?(?:DEBUG|INFO|NOTICE|Info)\]?(?=[\s:|\]-])"
    r"|\[LightGBM\]"
    r"|[A-Za-z_][\w.]{0,64}\s{1,2}(?:[-:|]\s)?(?=\[?(?:INFO|DEBUG|NOTICE)\b)"
    r"|(?:root|__main__|[A-Za-z_]\w*(?:\.\w+)+)(?::\d+|\[\d+\])?(?=[\s:|\]-])"
    r")[\s:|\-]*"
)
_ALARMS = ("WARN", "ERROR", "CRITICAL", "FATAL", "Warning:", "Error: ")
_TROUBLE = re.compile(r"\b(?:WARN|WARNING|ERROR|CRITICAL|FATAL)\b|Warning:|(?<=[a-z])Error: ")
_OTHER = re.compile(
    r"[WEF]\d{4} \d\d:|\[W\d{3,4} |\[CV[ \d]"
    r"|\s*(?:self\.|def |class |return |import |from \w+ import |print\(|\"\"\"|'''|>>> |usage:)"
)
_IN_PARENTHESES = re.compile(
    rf"\(\s*((?:{STEP_WORDS}|epoch)\s*[:=#]?\s*\d{{1,18}}(?:\s*/\s*\d{{1,18}})?)\s*\)", re.IGNORECASE
)
_PHASE = re.compile(r"\b(Epoch|Iter)\((train|val|test)\)")
_WRAPPED = re.compile(rf"\b(?:tensor|np\.float\d+|np\.int\d+|array)\(\s*({NUMBER})\s*(?:,[^()]*)?\)")
_DICT = re.compile(r"\{[^{}]*\}")
_DICT_ITEM = re.compile(
    rf"\s*(?:'([^']{{1,100}})'|\"([^\"]{{1,100}})\")\s*:\s*(?:({NUMBER})|'({NUMBER})'|\"({NUMBER})\")\s*(?:,|$)"
)
_UNIT_OF_NAME = re.compile(r"([A-Za-z]) ?\(([mµu]?s|secs?|min|h|[kMG]i?B|%)\)(?=\s*[:=|]|\s+[\d.])")
_PROSE = re.compile(
    r"\b(?:from|improved?|sav(?:ed|ing)|not|in|took|takes|finished|completed?|load(?:ed|ing)|resum\w+|reached|skipp\w+)\b",
    re.IGNORECASE,
)
_SHARE = re.compile(r"\(\s*[\d.]{1,10}\s*%\s*\)")
_AVERAGE = re.compile(rf"(?<=[\dn.])\s?\(\s{{0,8}}({_DECIMAL})\s?\)")
_PARENTHESES = re.compile(r"(\w?)\([^()]*\)")
_BRACKETS = re.compile(r"\[[^\[\]]*\]")
_BAR = re.compile(r"(\d{1,3})%(?:\||(?=\s+\d+/\d+\s\[))|(\d{1,18})it \[")
_BAR_COUNT = re.compile(r"(?:[^|]*\||\s+)\s*(\d{1,18})/(\d{1,18})\s*\[([^\]]*)\]?")
_KERAS = re.compile(r"\s*(\d{1,18})/(\d{1,18})\s+(?:\[[=>.\s]*\]|[━ ]*━[━ ]*|-(?=\s))")
_KERAS_TIME = re.compile(r"\s*-?\s*(?:ETA:\s*)?[\d:]{1,12}(?:[mu]?s)?(?:\s+\d{1,9}[mu]?s/(?:step|epoch))?\s*-\s")
_DURATION = re.compile(r"\b(?:eta|elapsed|remaining)\s*[:=]?\s*(?:\d+ days?, )?\d+:\d\d(?::\d\d)?", re.IGNORECASE)
_NAME = re.compile(WORD)
_IS = re.compile(r"\s(?:is|was)\s+(?=[-+]?\.?\d)")
_BESIDES = re.compile(r"[A-Za-z0-9]")


class Line(NamedTuple):
    """What a line says.

    Attributes:
        position: None when it has none.
        scope: `val`, `test`, `eval`, `dev`, or empty (training, or not said).
        fields: in order, at most one a name.
        bar: it is a progress bar of Keras, which leaves the epoch to an earlier line.
        sums_up: it starts with a star, and so gives the averages of the lines before it (PyTorch's meters).
        only_fields: nothing but fields, a position and marks is in it.
    """

    position: Position | None
    scope: str
    fields: list[Field]
    bar: bool = False
    sums_up: bool = False
    only_fields: bool = False


NOTHING = Line(None, "", [])
"""What a line without metrics says."""


def plain(text: str) -> str:
    """A line without colours, its wide gaps as tabs.

    Patterns with two gaps side by side are linear only while gaps are short.
    """
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    return _WIDE_GAP.sub("\t", text)


def without_prefix(text: str) -> str:
    """A line without rank, time, level and logger; empty when it is of another rank, trouble, or code."""
    match = _RANK.match(text)
    if match is not None:
        if int(match[1] or match[2]) != 0:
            return ""
        text = text[match.end() :]
    if _OTHER.match(text) is not None or text.endswith("("):
        return ""
    if any(alarm in text for alarm in _ALARMS) and _TROUBLE.search(text) is not None:
        return ""
    start = 0
    for _ in range(5):
        match = _LOG_PREFIX.match(text, start)
        if match is None:
            break
        start = match.end()
    return text[start:]


def parse(text: str) -> Line:
    """What one line says, by itself.

    Args:
        text: without its newline; of texts that overwrite each other only the last.
    """
    text = without_prefix(plain(text))
    return parse_plain(text) if text else NOTHING


def parse_plain(text: str) -> Line:
    """What a line says that has gone through `plain` and `without_prefix`."""
    if "%" in text or "it [" in text:
        bar, behind = _bar(text)
        if not behind:
            return bar
        if bar is not NOTHING:
            # A line printed while the bar stood there; it stands at its place.
            line = parse_plain(behind)
            is_sure = bar.position is not None and bar.position.total is not None and line.position is None
            return line._replace(position=bar.position) if is_sure and line.fields else line
    match = _KERAS.match(text)
    if match is not None:
        return _keras(match, text)
    if "(" in text:
        text = _PHASE.sub(r"\2 \1", _WRAPPED.sub(r"\1", text), count=1)
    named: list[Field] = []
    position: Position | None = None
    if "{" in text:
        text, named, position = _dict(text)
    if "(" in text:
        # Glued to a word parentheses are a call or `D(x)`, which no name may reach across.
        text = _IN_PARENTHESES.sub(r" \1 ", _SHARE.sub(" ", _AVERAGE.sub(r"~\1", text)))
        text = _UNIT_OF_NAME.sub(lambda match: f"{match[1]}_{unit_name(match[2])}", text)
        for _ in range(2):
            text = _PARENTHESES.sub(lambda match: "\0" if match[1] else " ", text)
    if ":" in text:
        text = _DURATION.sub("|", text)
    if " is " in text or " was " in text:
        text = _IS.sub(": ", text)
    scope, text = find_scope(text)
    where, text = find_position(text)
    if where is not None:
        position = _joint(where, position)
        if not scope:
            scope, text = find_scope(text)
    if "[" in text or "]" in text:
        # `[D loss: 0.3]` is a field in a frame, `[0.1, 0.2]` a list.
        text = _BRACKETS.sub(lambda match: f"|{match[0][1:-1]}|" if FIELD.search(match[0]) else " ", text)
        text = text.replace("[", "|").replace("]", "|")
    fields: dict[str, Field] = {}
    for field in named:
        fields[field.name] = field._replace(name=scoped(field.name, scope))
    left = read_fields(text, scope, fields)
    if position is not None and position.decimal and position.step is not None and position.epoch is not None:
        # The step is the better place; the epoch is then a metric like the others.
        fields.setdefault("epoch", Field("epoch", position.epoch))
        position = Position(None, False, position.step, position.total)
    if not fields and position is not None and _PROSE.search(text) is not None:
        return NOTHING  # `Epoch 3: saving model`: a note, under which nothing is told.
    sums_up = position is None and text.lstrip().startswith("*")
    return Line(position, scope, list(fields.values()), sums_up=sums_up, only_fields=not left)


def _joint(where: Position, position: Position | None) -> Position:
    """The position of a line and that of the dict in it; the dict's counts where both say one."""
    if position is None:
        return where
    epoch, decimal = (position.epoch, position.decimal) if position.epoch is not None else (where.epoch, where.decimal)
    return Position(epoch, decimal, where.step if position.step is None else position.step, where.total)


def _dict(text: str) -> tuple[str, list[Field], Position | None]:
    """Takes out what stands in braces: the items and the position of a dict of numbers, or nothing."""
    match = _DICT.search(text)
    if match is None:
        return text, [], None
    fields: list[Field] = []
    position: Position | None = None
    inside = match[0][1:-1].strip()
    end = 0
    while end < len(inside):
        item = _DICT_ITEM.match(inside, end)
        if item is None:
            return _DICT.sub(" ", text), [], None
        end = item.end()
        name, printed = joined((item[1] or item[2]).split()), item[3] or item[4] or item[5]
        value = number(printed)
        if value != value or abs(value) > LARGEST_STEP:
            fields.append(Field(name, value))
        elif name == "epoch":
            # Hugging Face prints a float, by now in quotes and shortened, of which no step can be made.
            is_decimal = item[3] is None or not printed.isdecimal()
            position = (position or Position())._replace(epoch=value, decimal=is_decimal)
        elif name in STEP_KEYS and value.is_integer():
            position = (position or Position())._replace(step=int(value))
        elif is_name([name]):
            fields.append(Field(name, value))
    rest = _DICT.sub(" ", text)
    if position is None and not all(is_result(field.name) for field in fields) and find_position(rest)[0] is None:
        fields.clear()
    return rest, fields, position


def _bar(text: str) -> tuple[Line, str]:
    """A tqdm progress bar: place, epoch of its description, and its postfix; never its speed.

    Returns:
        What the bar says, and what was printed behind it; `NOTHING` and the whole text if there is no bar.
    """
    start = _BAR.search(text)
    if start is None:
        return NOTHING, text
    if start[2] is not None:
        end = text.find("]", start.end())
        place, total, postfix = int(start[2]), None, text[start.end() : end if end >= 0 else None]
        end = end + 1 if end >= 0 else len(text)
    else:
        count = _BAR_COUNT.match(text, start.end())
        if count is None:
            return NOTHING, "" if "|" in start[0] else text
        place, total, postfix, end = int(count[1]), int(count[2]), count[3], count.end()
    description = text[: start.start()]
    found_epoch = EPOCH.search(description)
    epoch = float(found_epoch[1]) if found_epoch is not None else None
    match = SCOPE.match(description)
    scope = SCOPES[match[1].lower()] if match is not None else ""
    fields: dict[str, Field] = {}
    for item in postfix.split(", "):
        name, separator, value = item.partition("=" if "=" in item else " - ")
        found = VALUE.fullmatch(value.strip()) if separator else None
        if name.strip().lower() == "epoch" and value.isdecimal() and len(value) < 10:
            epoch = float(value)
        elif found is not None and _NAME.fullmatch(name.strip()) is not None:
            add_field(fields, [name.strip()], found[1], found[2], found[3], scope)
    # Without a total the place says nothing beside an epoch.
    position = Position(epoch, False, None if total is None and epoch is not None else place, total)
    behind = "" if _BESIDES.search(text, end) is None else text[end:]
    if not fields and description and not behind:
        # `epoch 3 loss 0.25: 40%|..`: what it tells stands in its description.
        read_fields(find_position(description.rstrip(": "))[1], scope, fields)
        fields = {name: field for name, field in fields.items() if is_result(name)}
    return Line(position, scope, list(fields.values()), only_fields=True), "" if fields else behind


def _keras(match: re.Match[str], text: str) -> Line:
    """A progress bar of Keras, or the line that it prints instead when it may not draw one."""
    fields: dict[str, Field] = {}
    end = match.end()
    for _ in range(3):
        time = _KERAS_TIME.match(text, end)
        end = time.end() - 2 if time is not None else end
    read_fields(text[end:], "", fields)
    return Line(Position(None, False, int(match[1]), int(match[2])), "", list(fields.values()), bar=True)


def only_results(line: Line) -> bool:
    """Whether a line consists of well-known results, beside which only durations stand."""
    return (
        line.only_fields
        and any(is_result(field.name) for field in line.fields)
        and all(is_result(field.name) or is_time(field.name) or field.unit in {"s", "ms"} for field in line.fields)
    )
