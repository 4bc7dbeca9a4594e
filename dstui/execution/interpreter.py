"""Which Python runs a command, and what its environment holds; asked once and remembered until it changes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dstui.errors import LaunchError
from dstui.execution.command import Command, project_python
from dstui_store import machine_id, private_folder

PROBE = Path(__file__).parents[1] / "inside" / "probe.py"
"""The program that an interpreter runs to tell of itself."""

PROBE_VERSION = 1
"""Raised when the answer of the probe changes, so that remembered answers are asked for anew."""

PROBE_SECONDS = 20.0
"""A probe that takes longer is given up: a disk hangs, or the interpreter is not one."""

MAX_ANSWER_BYTES = 8 << 20

_PYTHON = re.compile(r"(python|pypy)[0-9.]*")
_EXEC_LINE = re.compile(rb"""^'''exec' "?([^"\n]+?)"? "\$0" "\$@"$""", re.MULTILINE)


@dataclass(frozen=True)
class Interpreter:
    """The Python that a command runs on.

    Attributes:
        path: as it was found; not resolved, since a virtual environment is known by it.
        found_by: `script` (we chose it for a `.py`), `command` (it was named), `shebang` (of the program), `path` (what
            a shell would find; whether the command runs on it is not known).
    """

    path: Path
    found_by: str


def of_command(resolved: Command, cwd: Path, environment: Mapping[str, str]) -> Interpreter | None:
    """The interpreter of a command; for one that is no Python the one a shell would find, None without any."""
    if resolved.python is not None:
        return Interpreter(resolved.python, "script")
    program = _program(resolved.argv, cwd, environment)
    if program is not None:
        if _PYTHON.fullmatch(program.name):
            return Interpreter(program, "command")
        named = _shebang(program, environment)
        if named is not None:
            return Interpreter(named, "shebang")
    try:
        return Interpreter(project_python(cwd, environment), "path")
    except LaunchError:
        return None


def remembered(cache: Path, interpreter: Interpreter, environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The last answer of an interpreter, if nothing that it depends on has changed since.

    Args:
        cache: folder of what may be deleted at any time.
    """
    key = _key(interpreter.path, environment)
    if key is None:
        return None
    try:
        with (cache / f"python-{key}.json").open("rb") as file:
            answer = json.loads(file.read(MAX_ANSWER_BYTES))
        watched = answer["watched"].items()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return answer if all(_changed_at(path) == changed for path, changed in watched) else None


def ask(cache: Path, interpreter: Interpreter, environment: Mapping[str, str]) -> dict[str, Any]:
    """The answer of an interpreter, by one process; remembered for later.

    Raises:
        LaunchError: it could not be started, failed, or gave no answer in time.
    """
    key = _key(interpreter.path, environment)
    # Without the user's hooks and start-up files; variables still reach it, for the places of packages.
    command = [str(interpreter.path), "-I", "-S", "-B", str(PROBE)]
    try:
        done = subprocess.run(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_SECONDS,
            check=True,
            # A Ctrl-C is meant for the command, not for us.
            process_group=0,
        )
        answer = json.loads(done.stdout[:MAX_ANSWER_BYTES])
        if not isinstance(answer["packages"], dict) or not isinstance(answer["watched"], dict):
            raise ValueError("an answer of another form")
    except (OSError, ValueError, TypeError, KeyError, subprocess.SubprocessError) as error:
        raise LaunchError(f"`{interpreter.path}` could not be asked for its packages: {error}") from error
    if key is not None:
        _remember(cache / f"python-{key}.json", done.stdout)
    return answer  # type: ignore[no-any-return]  # JSON


def _remember(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        private_folder(path.parent)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
        temporary.replace(path)
    except OSError:
        # Only a cache: the next run asks again.
        temporary.unlink(missing_ok=True)


def _key(path: Path, environment: Mapping[str, str]) -> str | None:
    """What an answer is remembered under; None for a script that picks its interpreter anew each time (a shim)."""
    try:
        found = path.stat()
        with path.open("rb") as file:
            if file.read(2) == b"#!":
                return None
    except OSError:
        return None
    variables = [
        environment.get(name, "")
        for name in ("HOME", "PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "VIRTUAL_ENV")
    ]
    parts = [PROBE_VERSION, machine_id(), path.absolute(), found.st_dev, found.st_ino, found.st_mtime_ns, *variables]
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _changed_at(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _program(argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Path | None:
    first = argv[0] if argv else ""
    found = str(cwd / first) if "/" in first else shutil.which(first, path=environment.get("PATH"))
    return Path(found) if found else None


def _shebang(program: Path, environment: Mapping[str, str]) -> Path | None:
    """The Python that a program names in its first lines, None for any other program."""
    try:
        with program.open("rb") as file:
            head = file.read(1024)
    except OSError:
        return None
    if not head.startswith(b"#!"):
        return None
    words = os.fsdecode(head[2:].split(b"\n", 1)[0]).split()
    # A path too long for the kernel stands in the second line instead.
    long = _EXEC_LINE.search(head)
    if long is not None:
        words = [os.fsdecode(long[1])]
    if len(words) > 1 and Path(words[0]).name == "env":
        found = shutil.which(words[1], path=environment.get("PATH"))
        words = [found] if found else []
    if not words or not _PYTHON.fullmatch(Path(words[0]).name) or not os.access(words[0], os.X_OK):
        return None
    return Path(words[0])
