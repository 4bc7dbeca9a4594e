"""Errors reach a person as what happened and what to do, a program as JSON, a shell as the right exit code."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui import errors
from dstui.cli import diagnostics
from dstui.sdk.query import parse
from dstui.sdk.text import clean
from dstui_store import AmbiguousRunError, GitError, LimitError, NotAStoreError, RunNotFoundError

Captured = pytest.CaptureFixture[str]

KNOWN: list[tuple[BaseException, int, str]] = [
    (errors.DstuiError("x"), 1, "failed"),
    (errors.UsageError("x"), 2, "usage"),
    (errors.ConfigError("x"), 2, "config"),
    (errors.QueryError("x", position=1), 2, "query"),
    (errors.RunNotFound("x", name="a", candidates=[]), 3, "run_not_found"),
    (errors.DeviceError("x"), 4, "device"),
    (errors.LaunchError("x", exit_code=127), 4, "launch"),
    (NotAStoreError("x"), 3, "not_a_store"),
    (GitError("x"), 3, "git"),
    (RunNotFoundError("x"), 3, "run_not_found"),
    (AmbiguousRunError("x", ["a", "b"]), 3, "ambiguous_run"),
    (LimitError("x", 2, 1), 3, "limit"),
    (errors.InternalError("x"), 70, "bug"),
    (ZeroDivisionError("x"), 70, "bug"),
    (OSError(28, "No space left on device"), 70, "bug"),
]


def raising(error: BaseException) -> Callable[[], object]:
    def call() -> object:
        raise error

    return call


@pytest.mark.parametrize(("error", "code", "kind"), KNOWN, ids=[type(error).__name__ for error, _, _ in KNOWN])
def test_each_error_has_its_exit_code_and_its_kind(
    error: BaseException, code: int, kind: str, capsys: Captured
) -> None:
    assert diagnostics.guarded(raising(error), as_json=True) == code == diagnostics.exit_code(error)
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["error"]["kind"] == kind
    assert diagnostics.guarded(raising(error)) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.LaunchError("x", exit_code=127), 127),
        (errors.LaunchError("x", exit_code=126), 126),
        (errors.LaunchError("x"), 125),
        (errors.UsageError("x"), 125),
        (GitError("x"), 125),
        (ZeroDivisionError("x"), 125),
        (KeyboardInterrupt(), 130),
    ],
)
def test_ds_run_says_that_its_command_never_started(error: BaseException, code: int) -> None:
    assert diagnostics.guarded(raising(error), before_start=True) == code


def test_an_error_is_two_lines(capsys: Captured) -> None:
    diagnostics.report(errors.UsageError("Quota is 9, but this machine has 8", hint="set at most 8"))
    assert capsys.readouterr().err == "error: Quota is 9, but this machine has 8\nhint: set at most 8\n"
    diagnostics.report(errors.DstuiError("No hint"))
    assert capsys.readouterr().err == "error: No hint\n"


def test_runs_that_come_close_are_named(capsys: Captured) -> None:
    error = errors.RunNotFound("No run `k3`", name="k3", candidates=["k3f9c", "k3aaa"])
    diagnostics.report(error)
    assert capsys.readouterr().err == "error: No run `k3`\nhint: close to it: `k3f9c`, `k3aaa`\n"
    diagnostics.report(error, as_json=True)
    assert json.loads(capsys.readouterr().err) == {
        "error": {
            "kind": "run_not_found",
            "message": "No run `k3`",
            "hint": "close to it: `k3f9c`, `k3aaa`",
            "candidates": ["k3f9c", "k3aaa"],
        }
    }


def query_error(text: str) -> errors.QueryError:
    with pytest.raises(errors.QueryError) as caught:
        parse(text)
    return caught.value


def test_a_query_error_points_at_its_place(capsys: Captured) -> None:
    diagnostics.report(query_error("名 lr==1"))
    assert capsys.readouterr().err == (
        "error: `==` is no operator\n  名 lr==1\n       ^\nhint: use one of != <= >= : = < > ~, or quote the value\n"
    )
    diagnostics.report(query_error("lr==1"), as_json=True)
    assert json.loads(capsys.readouterr().err)["error"]["position"] == 2


def test_a_long_query_is_shown_around_its_place(capsys: Captured) -> None:
    diagnostics.report(query_error("x " * 100 + "lr==1" + " y" * 100))
    shown, caret = capsys.readouterr().err.splitlines()[1:3]
    assert shown.startswith("  …")
    assert shown.endswith("…")
    assert shown[caret.index("^") :].startswith("==1")
    assert len(shown) < 130


@pytest.mark.slow
@given(st.text(max_size=40), st.text(max_size=40))
@settings(deadline=None)
def test_no_message_sends_control_characters_to_the_terminal(message: str, hint: str) -> None:
    for error in (errors.UsageError(message, hint=hint), ValueError(message), query_error(f"{message} |(")):
        for as_json in (False, True):
            with pytest.MonkeyPatch.context() as patch:
                written: list[str] = []
                patch.setattr(diagnostics, "_write", written.append)
                patch.setattr(diagnostics, "_write_crash_report", lambda _error: Path("/x"))
                diagnostics.report(error, as_json=as_json)
            text = "".join(written)
            assert clean(text, multiline=True, limit=1 << 20) == text
            assert len(text.splitlines()) == (1 if as_json else text.count("\n"))


def test_an_interrupt_and_an_exit_are_quiet(capsys: Captured) -> None:
    assert diagnostics.guarded(raising(KeyboardInterrupt())) == 130
    assert diagnostics.guarded(raising(SystemExit())) == 0
    assert diagnostics.guarded(raising(SystemExit(7))) == 7
    assert diagnostics.guarded(raising(typer.Exit(5))) == 5
    assert diagnostics.guarded(raising(typer.Abort())) == 130
    assert capsys.readouterr() == ("", "")
    assert diagnostics.guarded(raising(SystemExit("words\x1b[2J"))) == 1
    assert capsys.readouterr().err == "words␛[2J\n"


def test_a_command_s_number_is_the_exit_code() -> None:
    assert diagnostics.guarded(lambda: 3) == 3
    assert diagnostics.guarded(lambda: None) == 0
    assert diagnostics.guarded(lambda: True) == 0


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["ls", "--bogus"], "No such option: --bogus", "see `ds ls --help`"),
        (["ls", "--limit", "x"], "Invalid value for `--limit`", "see `ds ls --help`"),
        (["lss"], "No such command `lss`", "see `ds --help`"),
    ],
)
def test_what_typer_refuses_is_a_usage_error_in_our_form(
    arguments: list[str], message: str, hint: str, capsys: Captured
) -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def ls(limit: int = 1) -> None:
        raise AssertionError(limit)

    @app.command()
    def other() -> None:
        raise AssertionError

    def call() -> Any:
        return app(arguments, prog_name="ds", standalone_mode=False)

    assert diagnostics.guarded(call) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"error: {message}")
    assert not first.endswith(".")
    assert second == f"hint: {hint}"
    assert diagnostics.guarded(call, as_json=True) == 2
    assert json.loads(capsys.readouterr().err)["error"]["kind"] == "usage"


# Bugs


def reports(home: Path) -> list[Path]:
    return sorted((home / "state" / "dstui" / "crashes").glob("*.txt"))


def test_a_bug_is_one_line_and_leaves_a_private_report(
    own_surroundings: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["ds", "ls", "--token=geheim", "hush"])
    assert diagnostics.guarded(raising(KeyError("missing\x1b[2J"))) == 70
    (path,) = reports(own_surroundings)
    assert capsys.readouterr().err == f"bug: KeyError: 'missing\\x1b[2J' (report it with `{path}`)\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    text = path.read_text()
    assert "Traceback" in text
    assert "command: ds ls\n" in text
    assert "geheim" not in text


def test_a_bug_in_json_names_the_report_too(own_surroundings: Path, capsys: Captured) -> None:
    assert diagnostics.guarded(raising(errors.InternalError("A row has no id")), as_json=True) == 70
    (path,) = reports(own_surroundings)
    assert json.loads(capsys.readouterr().err)["error"] == {
        "kind": "bug",
        "message": "A row has no id",
        "hint": f"report it with `{path}`",
    }


def test_old_reports_are_removed(own_surroundings: Path) -> None:
    for _ in range(diagnostics.MAX_CRASH_REPORTS + 5):
        diagnostics.report(ValueError("x"))
    assert len(reports(own_surroundings)) == diagnostics.MAX_CRASH_REPORTS


def test_a_bug_without_a_place_for_its_report_is_still_said(
    own_surroundings: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_surroundings / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(own_surroundings / "file"))
    assert diagnostics.guarded(raising(ValueError("x"))) == 70
    assert capsys.readouterr().err == "bug: ValueError: x (the report could not be written to the state directory)\n"


# Words


def test_words_and_warnings_go_to_stderr_cleaned(capsys: Captured) -> None:
    diagnostics.say("python: /x/bin/python\x1b[2J")
    diagnostics.warn("disk is full", hint="free some")
    assert capsys.readouterr() == ("", "python: /x/bin/python␛[2J\nwarning: disk is full\nhint: free some\n")


def test_a_closed_stderr_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert diagnostics.guarded(raising(errors.UsageError("x"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_only_where_a_terminal_wants_it(environment: dict[str, str], coloured: bool) -> None:
    code = "from dstui.cli.diagnostics import *\nreport(UsageError('x', hint='y'))"
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    subprocess.run([sys.executable, "-c", code], stderr=follower, env={**os.environ, **environment}, check=True)
    written = os.read(leader, 4096).decode()
    os.close(leader)
    os.close(follower)
    expected = "\x1b[1;31merror:\x1b[0m x\r\n\x1b[1;36mhint:\x1b[0m y\r\n" if coloured else "error: x\r\nhint: y\r\n"
    assert written == expected
