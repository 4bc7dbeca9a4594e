"""The part of YAML that sweep files are written in, read without running or building anything.

Read are: mappings and lists by indentation, `[a, b]` and `{a: b}` on one line, plain and quoted scalars, comments, one
document. Refused, with the line: anchors, aliases, tags, block texts (`|`, `>`), several documents, tabs.
Why not a library: docs/decisions/0026-a-small-reader-for-sweep-yaml.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dstui.errors import ConfigError

MAX_CHARACTERS = 1 << 20
MAX_DEPTH = 20

_NUMBER = re.compile(r"[+-]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_KEY = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s\[\]{},#&*!|>'"%@`-][^#]*?|-[^\s#][^#]*?)\s*:(?:\s+|$)""")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "/": "/", "0": "\0"}


@dataclass
class _Line:
    number: int
    indent: int
    text: str


def read_yaml(text: str) -> Any:
    """The mapping, list or value that a document means; None for an empty one.

    Raises:
        ConfigError: with the number of the line that cannot be read.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"The file has {len(text)} characters, more than {MAX_CHARACTERS}")
    lines = [line for number, raw in enumerate(text.splitlines(), 1) if (line := _line(number, raw)) is not None]
    if not lines:
        return None
    reader = _Reader(lines)
    value = reader.block(lines[0].indent, 0)
    if reader.place < len(lines):
        raise _wrong(lines[reader.place], "stands at no level of what is above it")
    return value


class _Reader:
    """Walks down the lines; each method leaves `place` behind what it has read."""

    def __init__(self, lines: list[_Line]) -> None:
        self.lines = lines
        self.place = 0

    def block(self, indent: int, depth: int) -> Any:
        line = self.lines[self.place]
        if depth > MAX_DEPTH:
            raise _wrong(line, f"is more than {MAX_DEPTH} levels deep")
        if line.text == "-" or line.text.startswith("- "):
            return self._list(indent, depth)
        if _KEY.match(line.text):
            return self._mapping(indent, depth)
        self.place += 1
        return _scalar(line, line.text)

    def _list(self, indent: int, depth: int) -> list[Any]:
        items = []
        while self.place < len(self.lines):
            line = self.lines[self.place]
            if line.indent != indent or not (line.text == "-" or line.text.startswith("- ")):
                break
            rest = line.text[1:].lstrip()
            if not rest:
                self.place += 1
                items.append(self._nested(indent, depth))
            else:
                # What stands behind the dash is a block of its own, indented to where it begins.
                inner = indent + len(line.text) - len(rest)
                self.lines[self.place] = _Line(line.number, inner, rest)
                items.append(self.block(inner, depth + 1))
        return items

    def _mapping(self, indent: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.place < len(self.lines):
            line = self.lines[self.place]
            if line.indent != indent:
                break
            match = _KEY.match(line.text)
            if match is None:
                raise _wrong(line, "is no `key: value`")
            key = _key(line, match[1])
            if key in found:
                raise _wrong(line, f"gives `{key}` a second time")
            rest = line.text[match.end() :].strip()
            self.place += 1
            if rest:
                found[key] = _scalar(line, rest)
            else:
                found[key] = self._nested(indent, depth, lists_too=True)
        return found

    def _nested(self, indent: int, depth: int, *, lists_too: bool = False) -> Any:
        """What is indented below; YAML lets a list stand at its key's own level."""
        if self.place < len(self.lines):
            line = self.lines[self.place]
            is_item = line.text == "-" or line.text.startswith("- ")
            if line.indent > indent or (lists_too and line.indent == indent and is_item):
                return self.block(line.indent, depth + 1)
        return None


def _line(number: int, raw: str) -> _Line | None:
    text = _without_comment(raw).rstrip()
    stripped = text.lstrip(" ")
    line = _Line(number, len(text) - len(stripped), stripped)
    if not stripped or (number == 1 and stripped == "---"):
        return None
    if stripped.startswith("\t"):
        raise _wrong(line, "is indented by a tab", hint="use spaces")
    if stripped in ("---", "..."):
        raise _wrong(line, "begins another document", hint="keep one document in the file")
    return line


def _without_comment(raw: str) -> str:
    quote = ""
    for place, character in enumerate(raw):
        if quote:
            quote = "" if character == quote and (quote == "'" or raw[place - 1] != "\\") else quote
        elif character in "'\"" and (place == 0 or raw[place - 1] in " [{,:"):
            quote = character
        elif character == "#" and (place == 0 or raw[place - 1] in " \t"):
            return raw[:place]
    return raw


def _key(line: _Line, text: str) -> str:
    value = _scalar(line, text) if text[0] in "'\"" else text
    return str(value)


def _scalar(line: _Line, text: str) -> Any:
    value, rest = _flow(line, text, 0)
    if rest.strip():
        raise _wrong(line, f"has `{rest.strip()[:40]}` behind its value")
    return value


def _flow(line: _Line, text: str, depth: int, ends: str = "") -> tuple[Any, str]:
    """One value from the start of a text, and what is left of it; a plain one ends before a character of `ends`."""
    text = text.lstrip()
    if depth > MAX_DEPTH:
        raise _wrong(line, f"is more than {MAX_DEPTH} levels deep")
    if text[:1] in ("[", "{"):
        return _collection(line, text, depth)
    if text[:1] in ("'", '"'):
        return _quoted(line, text)
    if text[:1] and text[0] in "&*!|>%@`":
        raise _wrong(line, f"uses `{text[0]}`, which is not read here", hint="write the value out, or use sweep.toml")
    end = min((place for place in map(text.find, ends) if place >= 0), default=len(text))
    return _plain(text[:end].strip()), text[end:]


def _collection(line: _Line, text: str, depth: int) -> tuple[Any, str]:
    is_list, close = text[0] == "[", "]" if text[0] == "[" else "}"
    items: list[Any] = []
    table: dict[str, Any] = {}
    rest = text[1:].lstrip()
    while not rest.startswith(close):
        if is_list:
            value, rest = _flow(line, rest, depth + 1, ",]")
            items.append(value)
        else:
            key, rest = _flow(line, rest, depth + 1, ":,}")
            if not rest.startswith(":"):
                raise _wrong(line, f"has `{str(key)[:40]}` without a value between the braces")
            value, rest = _flow(line, rest[1:], depth + 1, ",}")
            table[str(key)] = value
        rest = rest.lstrip()
        if rest.startswith(","):
            rest = rest[1:].lstrip()
        elif not rest.startswith(close):
            raise _wrong(line, f"opens `{text[0]}` and does not close it", hint="keep it on one line")
    return (items if is_list else table), rest[1:]


def _quoted(line: _Line, text: str) -> tuple[str, str]:
    quote, characters, place = text[0], [], 1
    while place < len(text):
        character = text[place]
        if quote == "'" and text[place : place + 2] == "''":
            characters.append("'")
            place += 2
        elif quote == '"' and character == "\\":
            escape = text[place + 1 : place + 2]
            if escape not in _ESCAPES:
                raise _wrong(line, f"has the escape `\\{escape}`, which is not read here")
            characters.append(_ESCAPES[escape])
            place += 2
        elif character == quote:
            return "".join(characters), text[place + 1 :]
        else:
            characters.append(character)
            place += 1
    raise _wrong(line, f"opens {quote} and does not close it")


def _plain(text: str) -> Any:
    if text.lower() in ("", "null", "~"):
        return None
    if text.lower() in ("true", "yes", "on", "false", "no", "off"):
        return text.lower() in ("true", "yes", "on")
    if _NUMBER.fullmatch(text):
        digits = text.replace("_", "")
        return int(digits) if re.fullmatch(r"[+-]?\d+", digits) else float(digits)
    return text


def _wrong(line: _Line, what: str, *, hint: str | None = None) -> ConfigError:
    shown = line.text if len(line.text) <= 60 else line.text[:57] + "..."
    return ConfigError(f"Line {line.number}, `{shown}`, {what}", hint=hint or "write it as in the documentation")
