"""What a terminal can show, by its environment. Standard library only."""

from __future__ import annotations


def plain_wanted(environment: dict[str, str]) -> bool:
    """Whether colours are not wanted."""
    return bool(environment.get("NO_COLOR"))


def ascii_wanted(environment: dict[str, str]) -> bool:
    """Whether the terminal may not show more than ASCII."""
    language = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    utf8 = "utf-8" in language.lower() or "utf8" in language.lower()
    return environment.get("TERM") == "linux" or not utf8 or plain_wanted(environment)
