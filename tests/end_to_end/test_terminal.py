"""At a terminal a command under `ds run` behaves as without us: keys, signals, job control, sizes, settings."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dstui.execution.front import LOOK_SECONDS
from tests.end_to_end.conftest import Run, is_gone, process_state

pytestmark = pytest.mark.slow

PROMPT = rb"ready> "
WaitUntil = Callable[..., None]
Script = Callable[[str], Path]


def test_the_three_streams_are_a_terminal_and_end_as_the_command_ended(run: Run) -> None:
    with run.at_terminal("sh", "-c", "test -t 0 && test -t 1 && test -t 2 && exit 7") as person:
        assert person.wait() == 7
    assert (run.exit["state"], run.exit["exit_code"]) == ("failed", 7)


@pytest.mark.parametrize(
    ("redirection", "terminals"),
    [
        ("", "110 111"),
        ("> {out}", "110 101"),
        ("2> {err}", "110 110"),
        ("> {out} 2>&1", "110 100"),
        ("< /dev/null", "110 011"),
        ("< /dev/null > {out} 2> {err}", "110 000"),
    ],
)
def test_each_stream_is_a_terminal_exactly_when_ours_is(
    run: Run, tmp_path: Path, script: Script, redirection: str, terminals: str
) -> None:
    program = script(
        "import os, sys\n"
        "isatty = ''.join(str(int(os.isatty(number))) for number in range(3))\n"
        "open(sys.argv[1], 'w').write(isatty)\n"
        "os.write(1, b'to stdout\\n'); os.write(2, b'to stderr\\n')\n"
        "os.write(os.open('/dev/tty', os.O_RDWR), b'to the terminal\\n')\n"
    )
    out, err, answer = tmp_path / "out", tmp_path / "err", tmp_path / "answer"
    line = f"$DS {sys.executable} {program} {answer} {redirection.format(out=out, err=err)}"
    with run.in_bash("-c", line) as person:
        assert person.wait() == 0
        person.expect(b"to the terminal\r\n")
        screen = person.screen
    assert answer.read_text() == terminals.split()[1]
    assert (b"to stdout\r\n" in screen) == (not out.exists())
    assert (b"to stderr\r\n" in screen) == (not err.exists() and "2>&1" not in redirection)
    if out.exists():
        assert out.read_bytes() == b"to stdout\n" + (b"to stderr\n" if "2>&1" in redirection else b"")
    if err.exists():
        assert err.read_bytes() == b"to stderr\n"
    assert b"to stdout\n" in run.text("log")


def test_the_settings_and_the_size_of_the_terminal_are_the_person_s(run: Run) -> None:
    with run.at_terminal("stty", "-a", settings={termios.VINTR: b"\x07", termios.VERASE: b"\x08"}) as person:
        assert person.wait() == 0
        person.expect(rb"rows 30; columns 100.*intr = \^G.*erase = \^H")


def test_the_log_holds_the_bytes_that_were_written_and_the_screen_shows_them_as_lines(run: Run, script: Script) -> None:
    written = b"10%|#         |\r20%|##        |\r\nplain\n\ttab\n\x1b[31mred\x1b[0m\xff\x00\nno newline"
    program = script(f"import os\nos.write(1, {written!r})\n")
    with run.at_terminal(sys.executable, program) as person:
        assert person.wait() == 0
        person.expect(b"no newline")
        assert person.screen == written.replace(b"\n", b"\r\n")
    assert run.text("log") == written
    assert not run.has("log.streams")


def test_carriage_returns_of_the_command_and_of_the_terminal_are_never_mixed_up(run: Run, tmp_path: Path) -> None:
    written = bytes(random.Random(1).choices(b"\r\nab", k=400_000))
    (tmp_path / "source").write_bytes(written)
    with run.at_terminal("cat", tmp_path / "source") as person:
        assert person.wait() == 0
        shown = written.replace(b"\n", b"\r\n")
        person.expect(re.escape(shown[-100:]) + b"$")
        assert person.screen == shown
    assert run.text("log") == written


def test_a_typed_line_is_echoed_once_and_control_d_ends_the_input(run: Run, wait_until: WaitUntil) -> None:
    with run.at_terminal("cat") as person:
        wait_until(person.is_raw)
        person.type(b"hello\r")
        person.expect(b"hello\r\nhello\r\n")
        person.type(b"\x04")
        assert person.wait() == 0
        assert person.screen == b"hello\r\nhello\r\n"


def test_the_erase_key_edits_the_line(run: Run, wait_until: WaitUntil) -> None:
    with run.at_terminal("cat") as person:
        wait_until(person.is_raw)
        person.type(b"helpo\x7f\x7flo\r")
        person.expect(rb"hello\r\n$")
        person.type(b"\x04")
        person.wait()


def test_a_password_is_not_shown(run: Run, script: Script) -> None:
    program = script("import getpass\nprint('length', len(getpass.getpass('word: ')))\n")
    with run.at_terminal(sys.executable, program) as person:
        person.expect(b"word: ")
        person.type(b"secret\r")
        person.expect(b"length 6")
        assert person.wait() == 0
        assert b"secret" not in person.screen
    assert b"secret" not in run.text("log")


def test_pdb_with_its_line_editor_works(run: Run, script: Script) -> None:
    program = script("import readline\nx = 6 * 7\nbreakpoint()\nprint('after', x)\n")
    with run.at_terminal(sys.executable, program) as person:
        person.expect(rb"\(Pdb\) ")
        # Control-A goes to the beginning of the line: only a line editor in raw mode does that.
        person.type(b" x\x01p\r")
        person.expect(rb"42\r\n\(Pdb\) ")
        person.type(b"c\r")
        person.expect(b"after 42\r\n")
        assert person.wait() == 0


def test_control_c_in_a_line_editor_ends_nothing(run: Run, wait_until: WaitUntil) -> None:
    with run.at_terminal(sys.executable, "-q", "-i", "-c", "import readline") as person:
        person.expect(b">>> ")
        begun = time.monotonic()
        # Longer than the patience after which a further Control-C would ask harder.
        while time.monotonic() < begun + 3.5:
            person.type(b"1 +")
            person.expect(rb"1 \+")
            # Python's editor, with or without us, loses a Control-C that comes between its echo and its wait for keys.
            wait_until(lambda: process_state(run.pid) == "S")
            person.type(b"\x03")
            person.expect(b"KeyboardInterrupt\r\n>>> ")
        person.type(b"exit()\r")
        assert person.wait() == 0
        assert b"ds:" not in person.screen
    assert run.exit["state"] == "finished"


def test_control_c_ends_the_command_and_the_front_dies_of_the_same_signal(run: Run, wait_until: WaitUntil) -> None:
    with run.at_terminal("sleep", "100") as person:
        wait_until(person.is_raw)
        person.type(b"\x03")
        assert person.wait() == -signal.SIGINT
        assert person.screen == b"^C"
        assert not person.is_raw()
    assert (run.exit["state"], run.exit["stop_reason"], run.exit["signal"]) == ("stopped", "Ctrl-C", 2)


def test_control_c_reaches_the_script_around_us_as_well(run: Run, tmp_path: Path, wait_until: WaitUntil) -> None:
    loop = f"for n in 1 2; do LIVE=$LIVE-$n $DS sleep 100; echo went on > {tmp_path}/marker; done"
    with run.in_bash("-c", loop) as person:
        wait_until(person.is_raw)
        person.type(b"\x03")
        assert person.wait() == -signal.SIGINT
    assert not (tmp_path / "marker").exists()


def test_a_command_that_handles_control_c_ends_by_itself(run: Run, script: Script) -> None:
    program = script(
        "import time\n"
        "try:\n    print('ready', flush=True)\n    time.sleep(100)\n"
        "except KeyboardInterrupt:\n    print('saved')\n"
    )
    with run.at_terminal(sys.executable, program) as person:
        person.expect(b"ready")
        person.type(b"\x03")
        person.expect(b"saved")
        assert person.wait() == 0
    assert (run.exit["state"], run.exit["exit_code"]) == ("stopped", 0)


def test_a_stubborn_command_gets_sigterm_and_then_sigkill_with_all_it_started(
    run: Run, script: Script, wait_until: WaitUntil
) -> None:
    program = script(
        "import os, signal, time\n"
        "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, lambda number, _: print('got', number))\n"
        "child = os.fork()\n"
        "if child: print('child', child, flush=True)\n"
        "while True: time.sleep(100)\n"
    )
    with run.at_terminal(sys.executable, "-u", program) as person:
        child = int(person.expect(rb"child (\d+)\r\n")[1])

        def press_until(text: bytes) -> Callable[[], bool]:
            def press() -> bool:
                if text in person.screen:
                    return True
                person.type(b"\x03")
                return False

            return press

        wait_until(press_until(b"got 15"))
        assert b"got 2" in person.screen
        wait_until(press_until(b"killed"))
        assert person.wait() == -signal.SIGKILL
        said = re.findall(rb"\nds: (\w+)", person.screen)
        assert said == [b"SIGINT", b"SIGTERM", b"killed"]
    assert is_gone(child)
    assert (run.exit["state"], run.exit["stop_reason"], run.exit["signal"]) == ("stopped", "Ctrl-C", 9)


def test_control_z_stops_both_and_fg_continues_both(run: Run, script: Script, wait_until: WaitUntil) -> None:
    program = script("import sys\nprint('ready', flush=True)\nprint('read', sys.stdin.readline().strip())\n")
    with run.in_bash("-i") as person:
        person.expect(PROMPT)
        person.type(f"$DS {sys.executable} {program}\r".encode())
        person.expect(b"ready\r\n")
        person.type(b"\x1a")
        person.expect(rb"\^Z.*Stopped.*" + PROMPT)
        assert process_state(run.pid) == "T"
        person.type(b"fg\r")
        wait_until(lambda: process_state(run.pid) == "S")
        wait_until(person.is_raw)
        person.type(b"typed\r")
        person.expect(b"read typed\r\n.*" + PROMPT)
        person.type(b"exit\r")
        person.wait()
    assert run.exit["exit_code"] == 0


def test_a_stopped_job_can_go_on_in_the_background(run: Run, script: Script, wait_until: WaitUntil) -> None:
    program = script(
        "import signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})\n"
        "print('ready', flush=True)\n"
        "signal.sigwait({signal.SIGCONT})\n"
        "print('went on', flush=True)\n"
    )
    with run.in_bash("-i") as person:
        person.expect(PROMPT)
        person.type(f"$DS {sys.executable} {program}\r".encode())
        person.expect(b"ready\r\n")
        person.type(b"\x1a")
        person.expect(b"Stopped.*" + PROMPT)
        person.type(b"bg\r")
        person.expect(b"went on\r\n")
        wait_until(lambda: run.has("committed"))
        person.type(b"exit\r")
        person.wait()


def test_a_background_job_leaves_the_terminal_alone_until_fg(run: Run, script: Script, wait_until: WaitUntil) -> None:
    program = script("print('read', input())\n")
    with run.in_bash("-i") as person:
        person.expect(PROMPT)
        at_prompt = person.settings()
        person.type(f"$DS {sys.executable} {program} &\r".encode())
        person.expect(PROMPT)
        wait_until(lambda: run.has("state.json"))
        # Longer than it takes the front to look whether it is in the foreground.
        end = time.monotonic() + 2 * LOOK_SECONDS
        while time.monotonic() < end:
            assert person.settings() == at_prompt
        # The shell still has every key, and nothing was stopped.
        for number in range(3):
            person.type(f"echo $(({number} + 40))\r".encode())
            person.expect(str(number + 40).encode() + rb"\r\n.*" + PROMPT)
        person.type(b"jobs\r")
        person.expect(b"Running.*" + PROMPT)
        person.type(b"fg\r")
        wait_until(lambda: person.is_raw() and not person.settings()[0] & termios.ICRNL)
        person.type(b"mine\r")
        person.expect(b"read mine\r\n.*" + PROMPT)
        person.type(b"exit\r")
        person.wait()
    assert run.exit["exit_code"] == 0


def test_control_z_in_a_script_stops_the_script_too(run: Run, wait_until: WaitUntil) -> None:
    with run.in_bash("-i") as person:
        person.expect(PROMPT)
        person.type(b"bash -c '$DS sleep 100 | cat; echo after'\r")
        wait_until(lambda: run.has("state.json"))
        person.type(b"\x1a")
        person.expect(b"Stopped.*" + PROMPT)
        wait_until(lambda: process_state(run.pid) == "T")
        person.type(b"fg\r")
        wait_until(lambda: process_state(run.pid) == "S")
        person.type(b"\x03")
        person.expect(PROMPT)
        person.type(b"exit\r")
        person.wait()


def test_a_full_screen_program_that_stops_itself_stops_the_script_around_it(
    run: Run, script: Script, wait_until: WaitUntil
) -> None:
    program = script(
        "import os, signal, sys, termios, tty\n"
        "before = termios.tcgetattr(0); tty.setraw(0)\n"
        "os.write(1, b'ready')\n"
        "os.read(0, 1)\n"
        "termios.tcsetattr(0, termios.TCSADRAIN, before)\n"
        "os.kill(0, signal.SIGTSTP)\n"
        "print('went on')\n"
    )
    with run.in_bash("-i") as person:
        person.expect(PROMPT)
        person.type(f"bash -c '$DS {sys.executable} {program}; echo after'\r".encode())
        person.expect(b"ready")
        wait_until(lambda: not person.settings()[3] & termios.ISIG)
        person.type(b"\x1a")
        person.expect(b"Stopped.*" + PROMPT)
        person.type(b"fg\r")
        person.expect(b"went on.*after.*" + PROMPT)
        person.type(b"exit\r")
        person.wait()


def test_a_changed_window_size_is_passed_on_at_once(run: Run, script: Script) -> None:
    program = script(
        "import os, signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})\n"
        "print(*os.get_terminal_size(), flush=True)\n"
        "while tuple(os.get_terminal_size()) != (132, 50): signal.sigwait({signal.SIGWINCH})\n"
        "print(*os.get_terminal_size())\n"
    )
    with run.at_terminal(sys.executable, program) as person:
        person.expect(b"100 30\r\n")
        person.resize(50, 132)
        person.expect(b"132 50\r\n")
        assert person.wait() == 0


def test_a_full_screen_program_gets_a_raw_terminal_and_leaves_it_as_it_was(
    run: Run, script: Script, wait_until: WaitUntil
) -> None:
    program = script(
        "import curses\n"
        "def main(screen):\n"
        "    curses.nonl(); curses.raw()\n"
        "    screen.addstr(2, 4, 'hello'); screen.refresh()\n"
        "    screen.addstr(3, 4, f'key {screen.getch()}'); screen.refresh(); screen.getch()\n"
        "curses.wrapper(main)\n"
        "print('back\\nagain')\n"
    )
    with run.at_terminal(sys.executable, program) as person:
        before = person.settings()
        person.expect(b"hello")
        # With `nonl` a newline only moves the cursor down; Control-C is a key.
        wait_until(lambda: not person.settings()[1] & termios.OPOST and not person.settings()[3] & termios.ISIG)
        person.type(b"\x03")
        person.expect(b"key 3")
        person.type(b"q")
        person.expect(b"back\r\nagain\r\n")
        assert person.wait() == 0
        assert person.settings() == before


def test_a_pager_at_the_end_of_the_pipeline_gets_the_keys(run: Run, script: Script, wait_until: WaitUntil) -> None:
    pager = script(
        "import os, sys, termios, tty\n"
        "terminal = os.open('/dev/tty', os.O_RDWR)\n"
        # Slower than the start of the run.
        "while not os.path.exists(os.environ['LIVE'] + '/state.json'): pass\n"
        "before = tty.setcbreak(terminal) or termios.tcgetattr(terminal)\n"
        "print('first', sys.stdin.readline().strip(), flush=True)\n"
        "for _ in range(8): print('key', os.read(terminal, 1).decode(), flush=True)\n"
    )
    with run.in_bash("-c", f"$DS sh -c 'echo line; sleep 100' | {sys.executable} {pager}") as person:
        person.expect(b"first line")
        for key in b"abcdefgh":
            person.type(bytes([key]))
            person.expect(b"key " + bytes([key]))
        # The pager has left: writing fails from now on, but `sleep` never writes.
        wait_until(lambda: run.has("state.json"))
        person.type(b"\x03")
        person.wait()
    assert run.exit["state"] == "stopped"


def test_keys_reach_a_command_whose_output_goes_through_tee(run: Run, tmp_path: Path) -> None:
    with run.in_bash("-c", f"$DS bash -c 'echo ready; read x; echo got $x' 2>&1 | tee {tmp_path}/copy") as person:
        person.expect(b"ready\r\n")
        person.type(b"abc\r")
        person.expect(b"got abc\r\n")
        assert person.wait() == 0
    assert (tmp_path / "copy").read_bytes() == b"ready\ngot abc\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM, signal.SIGQUIT, signal.SIGINT, 42])
def test_signals_to_the_front_reach_the_command(run: Run, script: Script, number: int) -> None:
    program = script(
        "import signal, sys\n"
        "number = int(sys.argv[1])\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {number})\n"
        "print('ready', flush=True)\n"
        "print('got', int(signal.sigwait({number})))\n"
    )
    with run.at_terminal(sys.executable, program, str(int(number))) as person:
        person.expect(b"ready")
        person.process.send_signal(number)
        person.expect(f"got {int(number)}\r\n".encode())
        assert person.wait() == 0


def test_a_lost_terminal_detaches_and_the_clerk_commits_at_the_end(
    run: Run, tmp_path: Path, wait_until: WaitUntil
) -> None:
    os.mkfifo(tmp_path / "gate")
    with run.at_terminal("sh", "-c", f"echo ready; cat {tmp_path}/gate; echo done") as person:
        person.expect(b"ready")
        person.hang_up()
        assert person.wait() == 0
    assert not run.has("exit.json")
    (tmp_path / "gate").write_text("opened\n")
    wait_until(lambda: run.has("clerk"))
    assert run.exit["state"] == "finished"
    assert run.text("log") == b"ready\nopened\ndone\n"
    assert not run.has("committed")


def test_a_stopped_run_goes_on_when_its_terminal_is_lost(run: Run, wait_until: WaitUntil) -> None:
    with run.in_bash("-i") as person:
        person.expect(PROMPT)
        person.type(b"$DS sh -c 'echo ready; exec sleep 100'\r")
        person.expect(b"ready\r\n")
        person.type(b"\x1a")
        person.expect(b"Stopped.*" + PROMPT)
        assert process_state(run.pid) == "T"
        person.hang_up()
        wait_until(lambda: process_state(run.pid) == "S")
    os.kill(run.pid, signal.SIGTERM)
    wait_until(lambda: run.has("clerk"))


def test_a_stopped_run_goes_on_when_its_stopped_front_is_killed(run: Run, wait_until: WaitUntil) -> None:
    with run.in_bash("-i") as person:
        person.expect(PROMPT)
        person.type(b"$DS sh -c 'echo ready; exec sleep 100'\r")
        person.expect(b"ready\r\n")
        person.type(b"\x1a")
        person.expect(b"Stopped.*" + PROMPT)
        assert process_state(run.pid) == "T"
        front = Path(f"/proc/{run.keeper}/stat").read_text().rpartition(")")[2].split()[1]
        os.kill(int(front), signal.SIGKILL)
        wait_until(lambda: process_state(run.pid) == "S")
    os.kill(run.pid, signal.SIGTERM)
    wait_until(lambda: run.has("clerk"))


def test_a_detach_names_the_way_back(run: Run) -> None:
    with run.at_terminal("sh", "-c", "echo ready; exec sleep 100") as person:
        person.expect(b"ready")
        person.process.send_signal(signal.SIGHUP)
        person.expect(b"ds attach 01234")
        assert person.wait() == 0
        assert not person.is_raw()
    os.kill(run.pid, signal.SIGKILL)


def test_a_run_can_be_attached_from_another_terminal(run: Run) -> None:
    with run.at_terminal("bash", "-c", "echo ready; read x; echo got $x") as first:
        first.expect(b"ready\r\n")
        with run.at_terminal("--attach") as second:
            second.expect(b"ready\r\n")
            second.type(b"abc\r")
            second.expect(b"got abc\r\n")
            first.expect(b"got abc\r\n")
            assert (first.wait(), second.wait()) == (0, 0)


def test_the_terminal_is_not_touched_when_output_is_flooded_and_the_person_interrupts(run: Run) -> None:
    with run.at_terminal("yes", "a line of some length to fill the terminal") as person:
        person.expect(b"terminal")
        person.type(b"\x03")
        assert person.wait() == -signal.SIGINT
        assert not person.is_raw()
    assert run.exit["state"] == "stopped"
