"""A command under a keeper: its streams byte for byte, its end told right, and nothing lost when something dies."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dstui.execution import front
from tests.end_to_end.conftest import ROOT, Run, is_gone, process_state

pytestmark = pytest.mark.slow

WaitUntil = Callable[..., None]
Script = Callable[[str], Path]

EXIT_KEYS = {
    "v",
    "run",
    "exit_code",
    "signal",
    "state",
    "stop_reason",
    "started_at",
    "ended_at",
    "duration_seconds",
    "user_seconds",
    "system_seconds",
    "peak_rss_bytes",
    "hook",
    "strays",
    "log_bytes",
}


def holds_lock(run: Run) -> bool:
    """Whether somebody holds the lock that says that the run lives."""
    if not run.has("alive"):
        return False
    with (run.live / "alive").open("rb+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def outcome(run: Run) -> tuple[str, int | None, int | None, str | None]:
    """State, exit code, signal and reason of the exit record."""
    record = run.exit
    return record["state"], record["exit_code"], record["signal"], record["stop_reason"]


# Streams.


def test_output_comes_through_on_its_own_streams_and_is_kept(run: Run) -> None:
    assert run.to_end("sh", "-c", "echo out; echo err >&2; exit 3") == (3, b"out\n", b"err\n")
    assert set(run.exit) == EXIT_KEYS
    assert outcome(run) == ("failed", 3, None, None)
    assert run.exit["log_bytes"] == len(run.text("log")) == 8
    assert run.has("committed")
    assert not run.has("clerk")
    assert not run.has("errors")


def test_output_on_two_streams_is_told_apart_in_the_log(run: Run, script: Script) -> None:
    program = script("import os\nfor n in range(50):\n    os.write(1 + n % 2, b'%d' % n * n)\n")
    code, out, err = run.to_end(sys.executable, program)
    assert code == 0
    assert out == b"".join(b"%d" % n * n for n in range(0, 50, 2))
    assert err == b"".join(b"%d" % n * n for n in range(1, 50, 2))
    records, log, apart = run.text("log.streams"), run.text("log"), {1: b"", 2: b""}
    for start in range(0, len(records), 5):
        length = int.from_bytes(records[start + 1 : start + 5], "little")
        apart[records[start]] += log[:length]
        log = log[length:]
    assert (apart, log) == ({1: out, 2: err}, b"")


def test_output_joined_by_the_shell_keeps_its_order(run: Run, script: Script, tmp_path: Path) -> None:
    program = script("import os\nfor n in range(2000):\n    os.write(1 + n % 2, b'%d ' % n)\n")
    expected = b"".join(b"%d " % n for n in range(2000))
    assert run.shell(f"$DS {sys.executable} {program} > {tmp_path}/out 2>&1") == (0, b"", b"")
    assert (tmp_path / "out").read_bytes() == run.text("log") == expected
    assert not run.has("log.streams")


def test_a_hundred_megabytes_of_any_bytes_come_through(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(random.Random(0).randbytes(1 << 20) * 100)
    code, out, _ = run.to_end("cat", source)
    assert code == 0
    assert hashlib.sha256(out).digest() == hashlib.sha256(source.read_bytes()).digest()
    assert run.exit["log_bytes"] == 100 << 20


def test_the_words_of_the_command_arrive_as_they_are(run: Run) -> None:
    words = ["", "a b", "new\nline", "ü", os.fsdecode(b"\xff\xfe"), "-I", "--"]
    line = "import os, sys; os.write(1, b'|'.join(map(os.fsencode, sys.argv[1:])))"
    assert run.to_end(sys.executable, "-c", line, *words)[1] == b"|".join(map(os.fsencode, words))


def test_input_is_handed_to_the_command_as_it_is(run: Run, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"some\0bytes")
    with (tmp_path / "input").open("rb") as file:
        assert run.to_end("cat", stdin=file)[1] == b"some\0bytes"


def test_who_writes_into_a_command_gets_sigpipe_once_it_stops_reading(run: Run) -> None:
    assert run.shell("yes | $DS head -n 1 > /dev/null; echo ${PIPESTATUS[@]}")[1] == b"141 0\n"


def test_who_writes_into_a_command_notices_at_once_that_it_has_closed_its_input(run: Run, tmp_path: Path) -> None:
    command = f"exec <&-; while ! test -e {tmp_path}/marker; do :; done; echo seen"
    assert run.shell(f"{{ yes; : > {tmp_path}/marker; }} | $DS bash -c '{command}'")[1] == b"seen\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_closed_for_the_command_too(run: Run, tmp_path: Path, script: Script, closed: str) -> None:
    program = script(
        "import os, sys\n"
        "def is_open(number):\n"
        "    try:\n        os.fstat(number)\n"
        "    except OSError:\n        return '-'\n"
        "    return str(number)\n"
        "answer = ''.join(is_open(number) for number in range(3))\n"
        "open(sys.argv[1], 'w').write(answer)\n"
    )
    answer = tmp_path / "answer"
    assert run.shell(f"$DS {sys.executable} {program} {answer} {closed}")[0] == 0
    # What a closed descriptor is taken by is the interpreter's own choice; without us it is the same.
    expected = tmp_path / "expected"
    subprocess.run(
        ["bash", "-c", f"{sys.executable} {program} {expected} {closed}"], check=True, stdin=subprocess.DEVNULL
    )
    assert answer.read_text() == expected.read_text()


def test_a_command_that_closes_its_own_stdout_goes_on(run: Run) -> None:
    assert run.to_end("bash", "-c", "echo a; exec >&-; echo b >&2; exit 5") == (5, b"a\n", b"b\n")


def test_without_a_terminal_the_command_has_none(run: Run) -> None:
    assert run.to_end("sh", "-c", "exec 2>/dev/null; (: < /dev/tty) || echo none")[1] == b"none\n"


def test_the_command_gets_no_descriptor_of_ours_and_the_usual_signals(run: Run, script: Script) -> None:
    program = script(
        "import os, signal\n"
        "print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:4])\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        # Signals 32 and 33 are the C library's own.
        "print([int(status[key], 16) & 0x7FFFFFFF for key in ('SigBlk', 'SigIgn')])\n"
    )
    expected = subprocess.run([sys.executable, program], capture_output=True, check=True, stdin=subprocess.DEVNULL)
    assert run.to_end(sys.executable, program)[1] == expected.stdout


def test_further_descriptors_are_for_the_command_and_not_for_its_keeper(run: Run, wait_until: WaitUntil) -> None:
    reader, writer = os.pipe()
    run.front("sleep", "100", pass_fds=[writer])
    wait_until(lambda: run.has("state.json"))
    name = os.readlink(f"/proc/self/fd/{writer}")
    assert name in {os.readlink(path) for path in Path(f"/proc/{run.pid}/fd").iterdir()}
    wait_until(lambda: name not in {os.readlink(path) for path in Path(f"/proc/{run.keeper}/fd").iterdir()})
    os.close(reader)
    os.close(writer)


def test_a_keeper_does_not_answer_to_the_name_of_its_command(run: Run, wait_until: WaitUntil) -> None:
    run.front("sleep", "86421")
    wait_until(lambda: run.has("state.json"))
    # `pkill -f` would take the only witness of the end along.
    assert b"86421" in Path(f"/proc/{run.pid}/cmdline").read_bytes()
    assert b"86421" not in Path(f"/proc/{run.keeper}/cmdline").read_bytes()


def test_a_signal_ignored_by_nohup_stays_ignored(run: Run) -> None:
    line = "import signal; print(signal.getsignal(signal.SIGHUP).name, signal.getsignal(signal.SIGINT).name)"
    assert run.shell(f"trap '' INT; nohup $DS {sys.executable} -c '{line}'")[1] == b"SIG_IGN SIG_IGN\n"


def test_nobody_else_may_read_what_is_kept_whatever_the_umask(run: Run) -> None:
    assert run.shell("umask 000; $DS sh -c umask")[1] == b"0000\n"
    ours = [path for path in run.live.iterdir() if path.name not in ("launch.json", "committed", "journal")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in ours} == {0o600}


# Starting.


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (None, 127),
        (lambda path: path.write_text("#!/bin/sh\n"), 126),
        (lambda path: path.mkdir(), 126),
        (lambda path: path.write_text("#!/no/such/interpreter\n") and path.chmod(0o700), 126),
    ],
    ids=["missing", "not executable", "folder", "no interpreter"],
)
def test_a_command_that_cannot_start_is_told_apart_and_is_no_run(
    run: Run, tmp_path: Path, make: Callable[[Path], object] | None, code: int
) -> None:
    if make is not None:
        make(tmp_path / "program")
    found, out, err = run.to_end(tmp_path / "program")
    assert (found, out) == (code, b"")
    assert b"program" in err
    assert not run.has("state.json")
    assert not run.has("exit.json")


def test_a_script_without_a_first_line_runs_in_the_shell(run: Run, tmp_path: Path) -> None:
    (tmp_path / "program").write_text("echo plain $1\n")
    (tmp_path / "program").chmod(0o700)
    assert run.to_end(tmp_path / "program", "word")[:2] == (0, b"plain word\n")


def test_a_live_directory_that_cannot_hold_the_end_starts_nothing(run: Run, tmp_path: Path) -> None:
    run.live.mkdir()
    code, _, err = run.to_end("touch", tmp_path / "marker")
    assert code != 0
    assert not (tmp_path / "marker").exists()
    assert err


# Ends.


def test_while_it_runs_the_lock_is_held_and_the_state_names_the_process(run: Run, wait_until: WaitUntil) -> None:
    process = run.front("sleep", "100")
    wait_until(lambda: run.has("state.json"))
    state = run.json("state.json")
    assert holds_lock(run)
    fields = Path(f"/proc/{state['pid']}/stat").read_text().rpartition(")")[2].split()
    assert state["start_ticks"] == int(fields[19])
    assert state["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert state["pid_namespace"] == Path("/proc/self/ns/pid").stat().st_ino
    assert state["run"] == "0123456789abcdef"
    os.kill(state["pid"], signal.SIGKILL)
    process.wait(20)
    assert not holds_lock(run)
    assert outcome(run) == ("killed", None, 9, "signal 9 from outside")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGINT])
def test_the_front_ends_by_the_signal_that_ended_the_command(run: Run, number: int) -> None:
    assert run.to_end("sh", "-c", f"kill -{int(number)} $$")[0] == -number
    state, _, killed_by, reason = outcome(run)
    assert killed_by == number
    if number == signal.SIGSEGV:
        assert (state, reason) == ("failed", "signal 11 (SIGSEGV)")
    else:
        assert (state, reason) == ("killed", f"signal {int(number)} from outside")


def test_sigint_sent_to_the_front_stops_the_run(run: Run, wait_until: WaitUntil) -> None:
    process = run.front("sleep", "100")
    wait_until(lambda: run.has("state.json"))
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == -signal.SIGINT
    assert outcome(run) == ("stopped", None, 2, "Ctrl-C")


def test_a_stop_request_ends_the_leader_first_and_the_tree_after_the_grace(
    run: Run, script: Script, wait_until: WaitUntil
) -> None:
    program = script(
        "import os, signal, time\n"
        "worker = os.fork()\n"
        "if worker == 0:\n"
        "    signal.signal(signal.SIGTERM, lambda *_: print('worker asked', flush=True))\n"
        "else:\n"
        "    signal.signal(signal.SIGTERM, lambda *_: print('leader asked', flush=True))\n"
        "    print('worker', worker, flush=True)\n"
        "while True: time.sleep(100)\n"
    )
    process = run.front(sys.executable, program)
    wait_until(lambda: b"\n" in run.text("log"))
    worker = int(run.text("log").split()[1])
    front.request_stop(run.live, "enough of it", 1.5)
    process.wait(20)
    assert outcome(run) == ("stopped", None, 9, "enough of it")
    assert run.text("log").endswith(b"leader asked\n")
    assert b"worker asked" not in run.text("log")
    assert is_gone(worker)


def test_a_time_limit_ends_the_run(run: Run) -> None:
    run.configure(time_limit_seconds=0.3).to_end("sleep", "100")
    assert outcome(run) == ("timeout", None, 15, "time limit of 0.3 s")


def test_a_full_gpu_is_recognised_by_what_was_printed_last(run: Run) -> None:
    run.to_end("sh", "-c", "echo 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB'; exit 1")
    assert outcome(run) == ("oom", 1, None, "out of GPU memory")


def test_a_command_that_asks_to_be_queued_again_has_failed_when_there_is_no_queue(run: Run) -> None:
    assert run.to_end("sh", "-c", "exit 75")[0] == 75
    assert outcome(run) == ("failed", 75, None, None)


def test_what_a_command_leaves_behind_is_ended(run: Run, tmp_path: Path) -> None:
    daemon = f"trap '' HUP; echo $$ > {tmp_path}/pid; exec sleep 100 > /dev/null 2>&1 < /dev/null"
    line = f'(setsid sh -c "$0" &); while ! test -s {tmp_path}/pid; do :; done'
    assert run.to_end("bash", "-c", line, daemon)[0] == 0
    assert is_gone(int((tmp_path / "pid").read_text()))
    assert run.exit["strays"] == 1


def test_what_ignores_sigterm_is_killed(run: Run, tmp_path: Path) -> None:
    deaf = f"(trap '' TERM; echo $BASHPID > {tmp_path}/pid; while :; do sleep 1; done) &"
    line = f"{deaf} while ! test -s {tmp_path}/pid; do :; done"
    assert run.configure(grace_seconds=0.2).to_end("bash", "-c", line)[0] == 0
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_tee_behind_the_command_may_write_its_last_line(run: Run, tmp_path: Path) -> None:
    line = f"exec > >(while read x; do sleep 0.1; echo $x; done | tee {tmp_path}/copy); echo a; echo b"
    assert run.to_end("bash", "-c", line)[:2] == (0, b"a\nb\n")
    assert (tmp_path / "copy").read_bytes() == b"a\nb\n"
    assert run.exit["strays"] == 0


# Readers.


def test_a_command_whose_reader_has_gone_gets_sigpipe(run: Run) -> None:
    assert run.shell("$DS yes | head -n 1; echo ${PIPESTATUS[@]}")[1] == b"y\n141 0\n"
    assert outcome(run) == ("failed", None, 13, "signal 13 (SIGPIPE)")


def test_a_command_that_does_not_write_does_not_notice_that_its_reader_has_gone(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    # The reader closes our stdout before it opens the gate.
    reader = f"{{ head -n 1 >&2; exec <&-; echo > {tmp_path}/gate; }}"
    line = f"$DS sh -c 'echo a; read x < {tmp_path}/gate; exit 4' | {reader}; echo ${{PIPESTATUS[0]}}"
    assert run.shell(line)[:2] == (0, b"4\n")


def test_a_redirection_to_a_full_disk_does_not_end_the_training(run: Run) -> None:
    code, _, err = run.shell("$DS sh -c 'echo one; echo two; exit 6' > /dev/full")
    assert code == 6
    assert b"stdout takes no more output" in err
    assert run.text("log") == b"one\ntwo\n"


def test_a_front_that_reads_slowly_gets_every_byte_of_a_log_in_segments(run: Run, wait_until: WaitUntil) -> None:
    size = 60 << 20
    process = run.configure(log_max_bytes=1 << 20).front(
        "sh", "-c", f"yes 0123456789abcde | head -c {size}; read x", stdin=subprocess.PIPE
    )
    wait_until(lambda: run.has("state.json"))
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: run.json("state.json")["log_bytes"] == size, 30)
    assert run.has("log.tail.1")
    process.send_signal(signal.SIGCONT)
    assert process.stdin is not None
    assert process.stdout is not None
    received = process.stdout.read(size)
    assert received == b"0123456789abcde\n" * (size // 16)
    process.stdin.close()
    process.wait(20)
    kept = sorted(path.name for path in run.live.glob("log.tail.*") if path.suffix != ".streams")
    assert kept == ["log.tail.4", "log.tail.5"]
    assert len(run.text("log")) == 1 << 20
    assert run.exit["log_bytes"] == size


def test_attaching_shows_the_end_of_the_output_and_what_follows(
    run: Run, tmp_path: Path, wait_until: WaitUntil
) -> None:
    os.mkfifo(tmp_path / "gate")
    run.front("sh", "-c", f"seq 1000; echo err >&2; cat {tmp_path}/gate; exit 9")
    wait_until(lambda: len(run.text("log")) == 3893 + 4)
    second = run.front("20", attach=True)
    assert second.stdout is not None
    assert second.stdout.read(13) == b"998\n999\n1000\n"
    (tmp_path / "gate").write_text("more\n")
    out, err = second.communicate(timeout=20)
    assert (out, err) == (b"more\n", b"err\n")
    assert second.returncode == 9


# What breaks.


def test_a_full_disk_costs_output_but_not_the_training(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    # A limit on the size of a file is a full disk to the keeper.
    line = f"ulimit -S -f 100; exec $DS sh -c 'yes | head -c 150000; cat {tmp_path}/gate; exit 8'"
    shell = run.in_shell(line)
    assert shell.stdout is not None
    assert shell.stdout.read(150_000) == b"y\n" * 75_000
    resource.prlimit(run.keeper, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    (tmp_path / "gate").write_text("after\n")
    out, err = shell.communicate(timeout=20)
    lost = 150_000 - (100 << 10)
    gap = f"\n[dstui: {lost} bytes of output are missing here: File too large]\n".encode()
    assert out == gap + b"after\n"
    assert run.text("log") == b"y\n" * (50 << 10) + gap + b"after\n"
    assert err.count(b"not kept: File too large") == run.text("errors").count(b"not kept: File too large") == 1
    assert outcome(run) == ("failed", 8, None, None)


def test_a_fault_in_the_metrics_parser_is_told_once_and_costs_nothing(run: Run, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "dstui" / "inside", tmp_path / "inside")
    (tmp_path / "inside" / "parse.py").write_text("raise RuntimeError('planted')\n")
    run.env["KEEPER"] = str(tmp_path / "inside" / "keeper.py")
    code, out, err = run.configure(capture={"stdout": True}).to_end("sh", "-c", "echo a; sleep 0.1; echo b")
    assert (code, out) == (0, b"a\nb\n")
    assert err.count(b"planted") == run.text("errors").count(b"planted") == 1


def test_a_fault_of_the_keeper_is_told_and_does_not_end_the_training(run: Run, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "dstui" / "inside", tmp_path / "inside")
    with (tmp_path / "inside" / "output.py").open("a") as file:
        file.write(
            "\nright = OutputLog.append\n"
            "def append(self, stream, data):\n"
            "    if data == b'b\\n': raise ZeroDivisionError('planted')\n"
            "    return right(self, stream, data)\n"
            "OutputLog.append = append\n"
        )
    run.env["KEEPER"] = str(tmp_path / "inside" / "keeper.py")
    code, out, _ = run.to_end("sh", "-c", "echo a; sleep 0.1; echo b; sleep 0.1; echo c; exit 3")
    assert (code, out) == (3, b"a\nc\n")
    assert run.text("errors").count(b"planted") == 1


def test_the_metrics_parser_gets_the_output(run: Run, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "dstui" / "inside", tmp_path / "inside")
    (tmp_path / "inside" / "parse.py").write_text(
        "class OutputMetrics:\n"
        "    sampled_lines = 0\n"
        "    def __init__(self, journal_directory): self.file = open(journal_directory + '/fed', 'wb')\n"
        "    def feed(self, data, now): self.file.write(data)\n"
        "    def close(self): self.file.write(b'closed'); self.file.close()\n"
    )
    run.env["KEEPER"] = str(tmp_path / "inside" / "keeper.py")
    run.configure(capture={"stdout": True}).to_end("sh", "-c", "echo loss=1; echo loss=2 >&2")
    assert run.text("journal/fed") == b"loss=1\nloss=2\nclosed"


def test_lines_too_many_to_be_searched_for_metrics_are_told(run: Run) -> None:
    script = "print('\\n'.join(f'step {n} loss {n / 3}' for n in range(20_000)))"
    code, _, _ = run.configure(capture={"stdout": True}).to_end(sys.executable, "-c", script)
    assert code == 0
    assert run.text("errors").count(b"came too fast to be searched for metrics") == 1
    assert run.has("journal/0-stdout.dsj")


def test_a_killed_front_changes_nothing_for_the_run(run: Run, tmp_path: Path, wait_until: WaitUntil) -> None:
    os.mkfifo(tmp_path / "gate")
    process = run.front("sh", "-c", f"echo a; cat {tmp_path}/gate; echo c >&2; exit 2")
    wait_until(lambda: run.text("log") == b"a\n")
    process.kill()
    process.wait()
    (tmp_path / "gate").write_text("b\n")
    wait_until(lambda: run.has("clerk"))
    assert outcome(run) == ("failed", 2, None, None)
    assert run.text("log") == b"a\nb\nc\n"
    wait_until(lambda: is_gone(run.keeper))


def test_a_killed_keeper_is_a_lost_terminal_to_the_command(run: Run, wait_until: WaitUntil) -> None:
    with run.at_terminal(
        "sh", "-c", "trap 'echo never seen; exit 3' HUP; echo ready; while :; do sleep 0.05; done"
    ) as person:
        person.expect(b"ready")
        os.kill(run.keeper, signal.SIGKILL)
        person.expect(b"keeper of 01234 is gone")
        assert person.wait() == 1
        assert not person.is_raw()
    wait_until(lambda: is_gone(run.pid))
    assert not holds_lock(run)
    assert not run.has("exit.json")
    assert run.text("log").startswith(b"ready\n")


def test_an_unanswered_exit_is_committed_by_the_clerk(run: Run, wait_until: WaitUntil) -> None:
    process = run.front("sleep", "100")
    wait_until(lambda: run.has("state.json"))
    process.send_signal(signal.SIGSTOP)
    os.kill(run.pid, signal.SIGTERM)
    wait_until(lambda: run.has("clerk"), 15)
    assert outcome(run) == ("killed", None, 15, "signal 15 from outside")


def processes_of(run: Run) -> dict[int, str]:
    """Command lines of the living processes that have to do with a run."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                mine = f"LIVE={run.live}".encode() in (folder / "environ").read_bytes().split(b"\0")
                if mine and process_state(int(folder.name)) not in ("", "Z"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                pass
    return found


@pytest.mark.parametrize("seed", range(20))
def test_whoever_is_killed_nothing_is_left_behind_and_no_end_is_wrong(
    new_run: Callable[[], Run], wait_until: WaitUntil, seed: int
) -> None:
    kill_at_random(new_run(), wait_until, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20, 520))
def test_whoever_is_killed_nothing_is_left_behind_and_no_end_is_wrong_in_many_runs(
    new_run: Callable[[], Run], wait_until: WaitUntil, seed: int
) -> None:
    kill_at_random(new_run(), wait_until, seed)


def kill_at_random(run: Run, wait_until: WaitUntil, seed: int) -> None:
    """Kill one of front, keeper and command at a moment that the seed chooses, and look at what is left."""
    choice = random.Random(seed)
    victim = choice.choice(["front", "keeper", "command"])
    moment = choice.choice(["made", "started", "output"])
    lines = choice.randrange(1, 20)
    process = run.front("sh", "-c", "while :; do echo line; sleep 0.01; done")
    if moment == "made" and victim != "command":
        wait_until(lambda: run.has("launch.json"))
    else:
        wait_until(lambda: run.has("state.json"))
    if moment == "output":
        wait_until(lambda: len(run.text("log")) >= 5 * lines)
    if victim == "front":
        process.kill()
    elif victim == "command":
        os.kill(run.pid, signal.SIGKILL)
    else:
        wait_until(lambda: [pid for pid, line in processes_of(run).items() if "keeper.py" in line])
        for pid, line in processes_of(run).items():
            if "keeper.py" in line:
                os.kill(pid, signal.SIGKILL)
    if victim == "front":
        process.wait()
        # A keeper holds the lock from its first moment.
        wait_until(lambda: run.has("state.json") or not holds_lock(run))
        if run.has("state.json"):
            front.request_stop(run.live, "end of the test", 5)
            wait_until(lambda: run.has("clerk"))
            assert outcome(run)[0] == "stopped"
    else:
        process.communicate(timeout=20)
    if victim == "command":
        assert outcome(run) == ("killed", None, 9, "signal 9 from outside")
        assert run.has("committed")
    if victim == "keeper":
        assert not run.has("exit.json")
    wait_until(lambda: not processes_of(run))
    wait_until(lambda: not holds_lock(run))
    assert set(run.text("log").split(b"\n")) <= {b"line", b""}


# Watching.


@pytest.fixture
def watched(run: Run, script: Script) -> Callable[[str], subprocess.Popen[bytes]]:
    """Starts a Python script with a pipe as stdin, and a keeper that watches it."""

    def start(text: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, script(text)], stdin=subprocess.PIPE, env=run.env)
        run.started(process)
        run.make_live()
        front.start_watcher(run.live, process.pid, run.env, clerk=run.clerk())
        return process

    return start


FINISH = (
    "import json, os, sys\n"
    "def finish(code, state, reason=None):\n"
    "    path = os.environ['LIVE'] + '/finish.json'\n"
    "    end = {'exit_code': code, 'state': state, 'stop_reason': reason}\n"
    "    with open(path + '.tmp', 'w') as file: json.dump(end, file)\n"
    "    os.rename(path + '.tmp', path)\n"
)


def test_a_watched_process_tells_its_own_end(
    run: Run, watched: Callable[[str], subprocess.Popen[bytes]], wait_until: WaitUntil
) -> None:
    process = watched(FINISH + "sys.stdin.read()\nfinish(3, 'failed', 'ValueError')\n")
    assert holds_lock(run)
    wait_until(lambda: run.has("state.json"))
    assert run.pid == process.pid
    process.communicate(b"")
    wait_until(lambda: run.has("clerk"))
    assert outcome(run) == ("failed", 3, None, "ValueError")
    assert set(run.exit) == EXIT_KEYS - {"hook"}


def test_a_watched_process_that_ends_without_a_word_was_killed(
    run: Run, watched: Callable[[str], subprocess.Popen[bytes]], wait_until: WaitUntil
) -> None:
    process = watched("import sys\nsys.stdin.read()\n")
    process.kill()
    process.wait()
    wait_until(lambda: run.has("clerk"))
    assert outcome(run)[:3] == ("killed", None, None)


def test_a_watched_process_may_go_on_after_its_run(
    run: Run, watched: Callable[[str], subprocess.Popen[bytes]], wait_until: WaitUntil
) -> None:
    process = watched(FINISH + "finish(0, 'finished')\nsys.stdin.read()\n")
    wait_until(lambda: run.has("clerk"))
    assert outcome(run) == ("finished", 0, None, None)
    assert process.poll() is None
    process.communicate(b"")


def test_a_watched_process_can_be_stopped(
    run: Run, watched: Callable[[str], subprocess.Popen[bytes]], wait_until: WaitUntil
) -> None:
    process = watched("import sys\nsys.stdin.read()\n")
    front.request_stop(run.live, "enough of it")
    assert process.wait(20) == -signal.SIGTERM
    wait_until(lambda: run.has("clerk"))
    assert outcome(run) == ("stopped", None, None, "enough of it")
