"""The only mapper of errors to exit codes, and the only writer of words to stderr.

```
error: Run `142` has no metric `los`
hint: it has `loss`, `acc`
```

Exit codes: 0 fine, 1 the run or request failed, 2 usage or configuration, 3 store, or a run that is not there, 4 device
or launch, 70 a bug of ours, 130 interrupted. `ds run` speaks for its command, so what goes wrong before the command
starts is 125, 126 (not executable) or 127 (not found). No traceback reaches the screen: a bug leaves a report in the
state directory.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from dstui.errors import (
    DeviceError,
    DstuiError,
    InternalError,
    LaunchError,
    QueryError,
    RunNotFound,
    UsageError,
)
from dstui.sdk.text import cell_width, clean

OK, FAILED, USAGE, STORE, DEVICE, BUG, INTERRUPTED = 0, 1, 2, 3, 4, 70, 130
"""Exit codes."""

NOT_STARTED = 125
"""Exit code of `ds run` when we failed before its command started."""

MAX_CRASH_REPORTS = 20
"""Reports that are kept, newest last; older ones are removed."""

PASSING_WIDTH = 60
"""Cells of the line that says what goes on."""

CARET_ROOM = 60
"""Characters of a query that are shown before the place of an error."""


def guarded(call: Callable[[], object], *, as_json: bool = False, before_start: bool = False) -> int:
    """Call the command and give the process's exit code, whatever comes out.

    Args:
        call: the command; an int that it returns is the exit code, anything else is 0.
        as_json: write an error as a JSON object.
        before_start: the command is `ds run`, whose own errors are 125 to 127.
    """
    try:
        result = call()
    except BaseException as error:  # the door: everything is shown here, nothing is hidden
        return report(error, as_json=as_json, before_start=before_start)
    return result if isinstance(result, int) and not isinstance(result, bool) else OK


def report(error: BaseException, *, as_json: bool = False, before_start: bool = False) -> int:
    """Say on stderr what went wrong and give the exit code; arguments as in `guarded`."""
    quiet = _quiet_exit(error)
    if quiet is not None:
        return quiet
    code = exit_code(error, before_start=before_start)
    message, hint = _message_and_hint(error)
    known = isinstance(error, DstuiError) and not isinstance(error, InternalError)
    if not known and not _is_store_error(error) and not _is_command_line_error(error):
        path = _write_crash_report(error)
        hint = f"report it with `{path}`" if path else "the report could not be written to the state directory"
        if not as_json:
            _headed("bug", "red", f"{message} ({hint})")
            return code
    if as_json:
        _say_json(error, message, hint)
        return code
    _headed("error", "red", message)
    if isinstance(error, QueryError):
        _point(error)
    if hint:
        _headed("hint", "cyan", hint)
    return code


def exit_code(error: BaseException, *, before_start: bool = False) -> int:
    """The exit code that an error stands for; `before_start` as in `guarded`."""
    quiet = _quiet_exit(error)
    if quiet is not None:
        return quiet
    if before_start:
        return error.exit_code if isinstance(error, LaunchError) else NOT_STARTED
    for kind, code in (
        (RunNotFound, STORE),
        (UsageError, USAGE),
        ((LaunchError, DeviceError), DEVICE),
        (InternalError, BUG),
        (DstuiError, FAILED),
    ):
        if isinstance(error, kind):
            return code
    if _is_store_error(error):
        return STORE
    if _is_command_line_error(error):
        return int(getattr(error, "exit_code", USAGE))
    return BUG


def warn(message: object, *, hint: object = None) -> None:
    """Say on stderr that something is not as it should be, while the command goes on."""
    _headed("warning", "yellow", message)
    if hint:
        _headed("hint", "cyan", hint)


def say(message: object) -> None:
    """Say one line on stderr that is neither an error nor data, such as which interpreter is used."""
    _write(f"{clean(message)}\n")


def say_passing(message: object) -> None:
    """Show on the terminal's last line what goes on, in the place of what it said before; an empty text wipes it."""
    text = clean(message)[:PASSING_WIDTH]
    _write(f"\r{text}{' ' * (PASSING_WIDTH - cell_width(text))}\r")


def _quiet_exit(error: BaseException) -> int | None:
    """The code of an end that needs no words, or None."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return error.code or OK
        _write(f"{clean(error.code)}\n")
        return FAILED
    # Typer's own ends; by name, for it carries its own copy of click or not, depending on its version.
    name, room = type(error).__name__, type(error).__module__.partition(".")[0]
    if room in ("click", "typer") and name in ("Exit", "Abort"):
        return int(getattr(error, "exit_code", INTERRUPTED))
    return None


def _message_and_hint(error: BaseException) -> tuple[str, str | None]:
    if _is_command_line_error(error):
        return _command_line_message(error)
    if isinstance(error, DstuiError) or _is_store_error(error):
        hint: str | None = getattr(error, "hint", None)
        candidates: list[str] = getattr(error, "candidates", [])
        if not hint and candidates:
            hint = "close to it: " + ", ".join(f"`{name}`" for name in candidates[:8])
        return str(getattr(error, "message", error)), hint
    return "".join(traceback.format_exception_only(error)).strip(), None


def _command_line_message(error: BaseException) -> tuple[str, str | None]:
    """What typer found wrong in the arguments, in our form: no full stop, the way to the help as a hint."""
    context = getattr(error, "ctx", None)
    command = str(getattr(context, "command_path", "") or "ds")
    message = str(getattr(error, "format_message", lambda: error)()).strip().removesuffix(".")
    if not message:
        # Given no arguments, typer has printed the help already and raises without a word.
        message = f"`{command}` needs a command or arguments"
    return re.sub(r"'([^']*)'", r"`\1`", message), f"see `{command} --help`"


def _is_store_error(error: BaseException) -> bool:
    from dstui.sdk import StoreError

    return isinstance(error, StoreError)


def _is_command_line_error(error: BaseException) -> bool:
    return any(
        base.__name__ == "ClickException" and base.__module__.partition(".")[0] in ("click", "typer")
        for base in type(error).__mro__
    )


def _kind(error: BaseException) -> str:
    """The class in the words of JSON: `query`, `run_not_found`, `not_a_store`; `bug` for whatever is not ours."""
    if _is_command_line_error(error):
        return "usage"
    if isinstance(error, InternalError) or not (isinstance(error, DstuiError) or _is_store_error(error)):
        return "bug"
    name = type(error).__name__.removesuffix("Error") if type(error) is not DstuiError else "failed"
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _say_json(error: BaseException, message: str, hint: str | None) -> None:
    detail: dict[str, object] = {"kind": _kind(error), "message": message, "hint": hint}
    if isinstance(error, QueryError):
        detail["position"] = error.position
    candidates = getattr(error, "candidates", None)
    if candidates:
        detail["candidates"] = list(candidates)
    _write(json.dumps({"error": detail}, ensure_ascii=True) + "\n")


def _headed(head: str, colour: str, message: object) -> None:
    _write(f"{_coloured(head + ':', colour)} {clean(message)}\n")


def _point(error: QueryError) -> None:
    """The query, and a caret under the place where the trouble starts."""
    text = next(iter(getattr(error, "__notes__", ())), "")
    if not text:
        return
    start = max(error.position - CARET_ROOM, 0)
    before, after = clean(text[start : error.position]), clean(text[error.position : error.position + CARET_ROOM])
    head = "…" if start else ""
    tail = "…" if len(text) > error.position + CARET_ROOM else ""
    _write(f"  {head}{before}{after}{tail}\n  {' ' * cell_width(head + before)}{_coloured('^', 'red')}\n")


def _coloured(text: str, colour: str) -> str:
    wanted = sys.stderr is not None and sys.stderr.isatty()
    if not wanted or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[1;{ {'red': 31, 'yellow': 33, 'cyan': 36}[colour] }m{text}\x1b[0m"


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        # Nobody can be told that nobody can be told.
        pass


def _write_crash_report(error: BaseException) -> Path | None:
    """Keep the traceback for a bug report, readable by its owner only; the file, or None where that is impossible."""
    base = os.environ.get("XDG_STATE_HOME", "")
    state = Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state"
    folder = state / "dstui" / "crashes"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{os.getpid()}.txt"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_crash_text(error))
        for old in sorted(folder.glob("*.txt"))[:-MAX_CRASH_REPORTS]:
            old.unlink(missing_ok=True)
    except (OSError, RuntimeError):
        return None
    return path


def _crash_text(error: BaseException) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("dstui")
    except PackageNotFoundError:
        installed = "not installed"
    # The command's name only: its arguments may hold what is nobody's business.
    command = next((word for word in sys.argv[1:] if re.fullmatch(r"[a-z]{2,12}", word)), "")
    return (
        f"dstui {installed}\nPython {platform.python_version()} on {platform.platform()}\n"
        f"command: ds {command}\n\n{''.join(traceback.format_exception(error))}"
    )
