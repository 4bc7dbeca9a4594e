"""Find out why no Python process of a command has loaded the capture hook."""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LOOK_SECONDS = 5.0
"""After this time a Python that loads the hook has done so; one that has not is looked at."""

_PYTHON = re.compile(r"(?:python|pypy)[0-9.]*")
_ISOLATED = re.compile(r"-[a-zA-Z]*[SIE]")
_ENVIRONMENT_BYTES = 1 << 20


class Hooked:
    """Says why the hook was not loaded, as far as the processes of the command tell.

    Args:
        live: the run's directory.
        argv: the command.
    """

    def __init__(self, live: str, argv: list[str]) -> None:
        self._hello = os.path.join(live, "hello.jsonl")
        self._cause = _flags(argv)

    def look(self, pids: Iterable[int]) -> None:
        """Look at the processes while they live."""
        if os.path.exists(self._hello):
            return
        for pid in pids:
            cause = _cause(pid)
            if cause:
                self._cause = cause
                return

    def verdict(self) -> str | None:
        """A sentence, or None when the hook was loaded, or nothing shows that a Python ran without it."""
        return None if os.path.exists(self._hello) else self._cause


def _cause(pid: int) -> str | None:
    """Why this process has no hook; None when it is no Python or cannot be looked at."""
    try:
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        if not _PYTHON.fullmatch(program):
            return None
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = [os.fsdecode(word) for word in file.read(1 << 16).split(b"\0")]
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read(_ENVIRONMENT_BYTES).split(b"\0")
    except OSError:
        return None
    if not any(item.startswith(b"DSTUI_CAPTURE=") and len(item) > 14 for item in variables):
        return "the command gave its Python an environment of its own"
    path = b"".join(item for item in variables if item.startswith(b"PYTHONPATH="))
    if b"/hook/" not in path:
        return "PYTHONPATH was replaced by the command (write PYTHONPATH=src:$PYTHONPATH)"
    return _flags(words)


def _flags(words: list[str]) -> str | None:
    """What options of the interpreter keep it out."""
    if not words or not _PYTHON.fullmatch(os.path.basename(words[0])):
        return None
    for word in words[1:]:
        if not word.startswith("-") or word.startswith("--") or word in ("-m", "-c"):
            return None
        if _ISOLATED.fullmatch(word):
            return f"python was started with {word}, which ignores PYTHONPATH or sitecustomize"
    return None
