"""Read the settings in a YAML file that a logger writes (`hparams.yaml`): scalars at the top level, nothing else.

Standard library only, Python 3.9, run by path or as `dstui.inside.flat_yaml`. Nested mappings, lists, tagged objects
and block texts are left out; nothing in the file can run code or grow.
"""

from __future__ import annotations

import json
import re
from typing import Any

TEXT_CHARACTERS = 200
"""Of longer texts this much is kept."""

KEYS = 1_000
"""Settings taken from one file."""

_PAIR = re.compile(
    r"""(?:'([^']{1,200})'|"([^"]{1,200})"|([^\s'"#\-\[\]{},&*!|>%@`:][^:#]{0,199}?|[\w.])) ?:(?:\s+(.*))?"""
)
_INTEGER = re.compile(r"[-+]?\d{1,18}")
_NUMBER = re.compile(
    r"[-+]?(?:\d{1,30}\.\d{0,30}(?:[eE][-+]?\d{1,3})?|\.\d{1,30}(?:[eE][-+]?\d{1,3})?|\d{1,30}[eE][-+]?\d{1,3})"
)
_COMMENT = re.compile(r"\s#")
_WORDS = {
    "null": None, "~": None, "": None, "true": True, "false": False,
    ".nan": float("nan"), ".inf": float("inf"), "-.inf": float("-inf"),
}  # fmt: skip
_NOTHING = object()


def read(text: str) -> dict[str, Any]:
    """The scalars at the top level by key, in order."""
    settings: dict[str, Any] = {}
    key, parts = "", [""]

    def keep() -> None:
        value = _scalar(parts)
        if key and value is not _NOTHING and len(settings) < KEYS:
            settings[key] = value

    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0] in " \t" or line.startswith("- "):
            # It belongs to the key above: a nested value, or the rest of a long text.
            parts.append(line if line[0] in " \t" else "- ")
            continue
        keep()
        key, parts = "", [""]
        pair = _PAIR.fullmatch(line.rstrip())
        if pair is not None:
            key = (pair[1] or pair[2] or pair[3]).strip()
            parts = [(pair[4] or "").strip()]
    keep()
    return settings


def _scalar(parts: list[str]) -> Any:
    """The value of a key from the lines it takes, or `_NOTHING` when it is no scalar."""
    first = parts[0]
    quote = first[:1]
    if not first and len(parts) > 1:
        return _NOTHING
    text = " ".join(part.strip() for part in parts)
    if quote == "'":
        end = re.fullmatch(r"'((?:[^']|'')*)'\s*(?:#.*)?", text)
        return end[1].replace("''", "'")[:TEXT_CHARACTERS] if end else _NOTHING
    if quote == '"':
        end = re.fullmatch(r'("(?:[^"\\]|\\.)*")\s*(?:#.*)?', text)
        try:
            return str(json.loads(end[1]))[:TEXT_CHARACTERS] if end else _NOTHING
        except ValueError:
            return _NOTHING
    if quote and quote in "[]{},&*!|>%@`":
        return _NOTHING
    comment = _COMMENT.search(text)
    text = (text[: comment.start()] if comment else text).strip()
    if text.startswith("#"):
        text = ""
    word = text.lower()
    if word in _WORDS:
        return _WORDS[word]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text[:TEXT_CHARACTERS]
