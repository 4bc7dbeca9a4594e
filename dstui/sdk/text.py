"""The store's tools for text from outside, handed on to the doors: they take and show nothing but `SafeText`."""

from __future__ import annotations

from dstui_store import (
    LogLine,
    LogParser,
    SafeText,
    StyleSpan,
    TextStyle,
    cell_width,
    clean,
    cut_text,
    fit_text,
    join_text,
    parse_line,
)

__all__ = [
    "LogLine",
    "LogParser",
    "SafeText",
    "StyleSpan",
    "TextStyle",
    "cell_width",
    "clean",
    "cut_text",
    "fit_text",
    "join_text",
    "parse_line",
]
