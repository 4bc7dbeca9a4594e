"""What a command line means: the program it starts, the interpreter of a script, the params it spells out.

Pure but for looking up programs on PATH.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dstui.errors import LaunchError

MAX_NAME_LENGTH = 60
SHELLS = frozenset({"sh", "bash", "zsh", "dash", "fish", "ksh"})

_OPTION = re.compile(r"--?([A-Za-z][\w.-]*)(?:=(.*))?", re.DOTALL)
_HYDRA = re.compile(r"\+{0,2}([A-Za-z_][\w./@-]*)=(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Command:
    """A command ready to be started.

    Attributes:
        argv: what is executed; its first word is an existing program.
        python: the interpreter that a script was given, None when the user named a program himself.
    """

    argv: tuple[str, ...]
    python: Path | None


def resolve(words: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Command:
    """The program behind a command; a first word ending in `.py` gets the project's interpreter.

    That is what `python` resolves to, else `./.venv`, else `python3`; never silently the one that dstui lives in.

    Raises:
        LaunchError: not found (127) or not executable (126).
    """
    if not words:
        raise LaunchError("No command was given", hint="for example `ds run train.py --lr 0.1`", exit_code=125)
    first = words[0]
    if first.endswith(".py"):
        script = cwd / first
        if not script.is_file():
            raise LaunchError(f"There is no script `{first}` in `{cwd}`", hint="check the path", exit_code=127)
        python = project_python(cwd, environment)
        return Command((str(python), *words), python)
    _check_program(first, cwd, environment)
    return Command(tuple(words), None)


def parameters(words: Sequence[str]) -> dict[str, Any]:
    """Params spelled out on a command line: `--lr 0.1`, `--lr=0.1`, `lr=0.1`, `--flag`.

    Only words after the script are read (after the program, when there is none); those of a shell's `-c` never.
    Values become numbers and booleans where they look like such.
    """
    rest = list(_words_of_script(words))
    found: dict[str, Any] = {}
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        option = _OPTION.fullmatch(word)
        assigned = _HYDRA.fullmatch(word)
        if option and not _NUMBER.fullmatch(word):
            value: Any = option[2]
            if value is None:
                value = rest.pop(0) if rest and not _is_option(rest[0]) else True
            found[option[1]] = _value(value)
        elif assigned:
            found[assigned[1]] = _value(assigned[2])
    return found


def default_name(words: Sequence[str], params: Mapping[str, Any]) -> str:
    """A run's name when the user gave none: the script, and the first params that fit in 60 characters."""
    name = _stem(words)
    for key, value in params.items():
        part = f"{key.rsplit('.', 1)[-1]}={_short(value)}"
        if len(name) + 1 + len(part) > MAX_NAME_LENGTH:
            break
        name = f"{name} {part}"
    return name


def parse_assignment(text: str) -> tuple[str, Any]:
    """The key and value of a `-p KEY=VALUE`.

    Raises:
        LaunchError: no `=`, or no key.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise LaunchError(f"`-p {text}` is not of the form KEY=VALUE", hint="for example `-p lr=0.1`")
    return key.strip(), _value(value)


def project_python(cwd: Path, environment: Mapping[str, str]) -> Path:
    """The interpreter of a folder's scripts: `python` on PATH, else `./.venv`, else `python3`.

    Raises:
        LaunchError: there is none (127).
    """
    path = environment.get("PATH")
    for found in (
        shutil.which("python", path=path),
        str(cwd / ".venv" / "bin" / "python"),
        shutil.which("python3", path=path),
    ):
        if found and os.access(found, os.X_OK):
            return Path(found)
    raise LaunchError(
        "No Python was found: neither `python` nor `python3` on PATH, nor `./.venv`",
        hint="activate the project's environment, or name the interpreter: `ds run /path/to/python train.py`",
        exit_code=127,
    )


def _check_program(first: str, cwd: Path, environment: Mapping[str, str]) -> None:
    if "/" not in first:
        if shutil.which(first, path=environment.get("PATH")) is None:
            raise LaunchError(f"`{first}` was not found on PATH", hint="check the name", exit_code=127)
        return
    program = cwd / first
    if not program.exists():
        raise LaunchError(f"`{first}` does not exist", hint=f"looked in `{cwd}`", exit_code=127)
    if program.is_dir():
        raise LaunchError(f"`{first}` is a folder", hint="name a program or a script", exit_code=126)
    if not os.access(program, os.X_OK):
        raise LaunchError(f"`{first}` cannot be executed", hint=f"`chmod +x {first}`", exit_code=126)


def _words_of_script(words: Sequence[str]) -> Sequence[str]:
    program = Path(words[0]).name if words else ""
    if program in SHELLS and "-c" in words:
        return ()
    for place, word in enumerate(words):
        if word.endswith(".py"):
            return words[place + 1 :]
        if word == "-m" and place and place + 1 < len(words):
            return words[place + 2 :]
    return words[1:]


def _stem(words: Sequence[str]) -> str:
    for place, word in enumerate(words):
        if word.endswith((".py", ".sh")):
            return Path(word).stem
        if word == "-m" and place and place + 1 < len(words):
            return words[place + 1].rsplit(".", 1)[-1]
    return Path(words[0]).name


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and not _NUMBER.fullmatch(word)


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if re.fullmatch(r"[+-]?\d{1,15}", text):
        return int(text)
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^\x21-\x7e]", "_", text)[:24]
