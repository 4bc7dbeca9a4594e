"""Runs any terminal program in a pty of a given size and measures what a user feels.

Numbers per program: time to the first byte and the first full frame, CPU of the start, CPU and bytes while idle, memory
of the whole process tree, key to repaint, a key held down, resize to repaint. It plays a modern terminal: it answers
the usual questions (device attributes, cursor position, synchronised output, kitty keys, colours, cell size), since
many programs wait for those answers before they draw.

    python benchmarks/ptybench.py --ready 'loss' --key j --back k --resize --json out.json --png out.png -- dstui

Needs psutil and pyte; Pillow only for `--png`.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import errno
import fcntl
import json
import os
import pty
import re
import select
import signal
import statistics
import struct
import subprocess
import termios
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyte

KEYS = {
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "pgdn": "\x1b[6~",
    "pgup": "\x1b[5~",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "enter": "\r",
    "esc": "\x1b",
    "tab": "\t",
    "space": " ",
    "colon": ":",
}
"""Keys that are more than their own character."""

CELL_WIDTH, CELL_HEIGHT = 10, 20
"""Pixels of one cell that we claim to have."""

QUIET_SECONDS = 0.06
"""This long without output ends a repaint."""

HELD_HZ, HELD_SECONDS = 30, 3.0
SETTLED_SHARE = 0.9
"""Without `ready` the first full frame is the first that paints this share of the settled screen's cells."""

_QUESTION = re.compile(
    rb"\x1b\[(?:(>|=)?0?c|(\?)?([56])n|\?(\d+)\$p|(\?)u|(1[468])t|(>)0?q)"
    rb"|\x1b\](1[012]|4;\d+);\?(?:\x07|\x1b\\)|\x1bP\+q([0-9A-Fa-f;]*)\x1b\\"
)


def key_bytes(name: str) -> bytes:
    """What a terminal sends for a key: `j`, `enter`, `ctrl+p`."""
    if name.startswith("ctrl+"):
        return bytes([ord(name[5].upper()) & 31])
    return KEYS.get(name, name).encode()


def answers(data: bytes, rows: int, columns: int) -> bytes:
    """What a terminal of this size answers to the questions in some output."""
    out = bytearray()
    for match in _QUESTION.finditer(data):
        out += _answer(match, rows, columns)
    return bytes(out)


def _answer(match: re.Match[bytes], rows: int, columns: int) -> bytes:
    text = match.group(0)
    if text.startswith(b"\x1b[") and text.endswith(b"c"):
        return b"\x1b[>1;4000;0c" if match[1] == b">" else b"\x1b[?62;4;22c"
    if match[3]:
        return b"\x1b[0n" if match[3] == b"5" else b"\x1b[1;1R"
    if match[4]:
        mode = match[4].decode()
        return f"\x1b[?{mode};{2 if mode in ('2026', '2004', '1006') else 0}$y".encode()
    if match[5]:
        return b"\x1b[?0u"
    if match[6]:
        height, width = rows * CELL_HEIGHT, columns * CELL_WIDTH
        sizes = {b"14": (4, height, width), b"16": (6, CELL_HEIGHT, CELL_WIDTH), b"18": (8, rows, columns)}
        return "\x1b[{};{};{}t".format(*sizes[match[6]]).encode()
    if match[7]:
        return b"\x1bP>|ptybench(1)\x1b\\"
    if match[8]:
        colour = b"ffff/ffff/ffff" if match[8] == b"10" else b"1010/1010/1010"
        return b"\x1b]" + match[8] + b";rgb:" + colour + b"\x1b\\"
    return b"\x1bP0+r\x1b\\"


class Terminal:
    """One program in a terminal of its own.

    Attributes:
        log: (seconds since the start, bytes) of each piece of output.
        eof: whether the program is gone.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        rows: int = 36,
        columns: int = 120,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> None:
        self.rows, self.columns = rows, columns
        self.log: list[tuple[float, bytes]] = []
        self.eof = False
        self._descriptor, slave = pty.openpty()
        self._set_size(slave)
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=_environment(env or {}),
            cwd=cwd,
            preexec_fn=_take_terminal,
            close_fds=True,
        )
        os.close(slave)
        os.set_blocking(self._descriptor, False)
        self._top = psutil.Process(self.process.pid)

    def pump(
        self, seconds: float | None = None, *, quiet: float | None = None, until: Callable[[], bool] | None = None
    ) -> int:
        """Reads output for `seconds`, or until `quiet` seconds passed without any, or `until()`; returns its bytes."""
        start = last = time.perf_counter()
        count = 0
        while not self.eof:
            now = time.perf_counter()
            if seconds is not None and now - start >= seconds:
                break
            if quiet is not None and count and now - last >= quiet:
                break
            if not select.select([self._descriptor], [], [], 0.002)[0]:
                continue
            data = self._read()
            if not data:
                continue
            last = time.perf_counter()
            count += len(data)
            self.log.append((last - self.started, data))
            self.send(answers(data, self.rows, self.columns))
            if until is not None and until():
                break
        return count

    def send(self, data: bytes) -> None:
        """Types some bytes."""
        if data:
            try:
                os.write(self._descriptor, data)
            except OSError:
                self.eof = True

    def resize(self, rows: int, columns: int) -> None:
        """Gives the terminal another size."""
        self.rows, self.columns = rows, columns
        self._set_size(self._descriptor)

    def output(self, since: int = 0) -> bytes:
        """All output from the piece number `since` on."""
        return b"".join(data for _, data in self.log[since:])

    def cpu_seconds(self) -> float:
        """CPU of the program and its children."""
        total = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                total += sum(process.cpu_times()[:4])
        return total

    def memory_mb(self) -> tuple[float, float]:
        """(resident memory of the program, proportional memory of it and its children) in MiB."""
        resident = proportional = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                info = process.memory_full_info()
                resident += info.rss if process.pid == self._top.pid else 0
                proportional += info.pss
        return resident / 2**20, proportional / 2**20

    def close(self) -> None:
        """Ends the program, and gives the terminal back."""
        started = self._tree()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in started:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(number)
            if not psutil.wait_procs(started, timeout=1.0)[1]:
                break
        self.process.poll()
        os.close(self._descriptor)

    def _read(self) -> bytes:
        try:
            data = os.read(self._descriptor, 1 << 16)
        except OSError as error:
            self.eof = error.errno != errno.EAGAIN
            return b""
        self.eof = not data
        return data

    def _set_size(self, descriptor: int) -> None:
        pixels = self.columns * CELL_WIDTH, self.rows * CELL_HEIGHT
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", self.rows, self.columns, *pixels))

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._top, *self._top.children(recursive=True)]
        except psutil.Error:
            return []


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    terminal = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    environment = {**os.environ, **terminal, **given}
    for name in ("NO_COLOR", "TMUX", "COLUMNS", "LINES", "TERM_PROGRAM"):
        if name not in given:
            environment.pop(name, None)
    return environment


_UNKNOWN_TO_PYTE = re.compile(
    r"\x1b\[[<>=][\d;]*[A-Za-z]|\x1b\[\?[\d;]*(?:\$p|u)|\x1b\[[\d;]*\$[A-Za-z]|\x1b\[[\d;]* q"
    r"|\x1b[P_^X].*?\x1b\\|\x1b\].*?(?:\x07|\x1b\\)|\x1b\[[\d;]*t|\x1b\[\d*(?:;\d*)*S",
    re.DOTALL,
)
_UNFINISHED = re.compile(r"\x1b(?:[P_^X\]][^\x07]*|\[[^@-~]*)?$", re.DOTALL)


class Replay:
    """Output played back into a screen."""

    def __init__(self, rows: int, columns: int) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self.screen)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> None:
        """Takes some output, which may end anywhere."""
        text = _UNKNOWN_TO_PYTE.sub("", self._rest + self._decoder.decode(data))
        torn = _UNFINISHED.search(text)
        end = torn.start() if torn is not None else len(text)
        self._rest, text = text[end:], text[:end]
        self._stream.feed(text)

    @property
    def text(self) -> str:
        """The screen as text."""
        return "\n".join(self.screen.display)

    def painted(self) -> int:
        """Cells that hold anything."""
        return sum(
            (bool(cell.data) and cell.data != " ") or cell.bg != "default"
            for row in self.screen.buffer.values()
            for cell in row.values()
        )


def first_frame(log: Sequence[tuple[float, bytes]], rows: int, columns: int, ready: str | None) -> float | None:
    """Milliseconds until the screen shows `ready`, or else until most of the settled screen is painted."""
    replay, marks = Replay(rows, columns), []
    for seconds, data in log:
        replay.feed(data)
        if ready is None:
            marks.append((seconds, replay.painted()))
        elif re.search(ready, replay.text):
            return seconds * 1e3
    if not marks:
        return None
    goal = SETTLED_SHARE * marks[-1][1]
    return next(seconds for seconds, count in marks if count >= goal) * 1e3


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        ready: regular expression that the first full frame shows.
        key: the key whose repaint is timed; `back` alternates with it, so that the cursor stays put.
        before: (key, seconds to wait) pressed before anything but the start is measured.
        starts: how often it is started.
        settle: seconds that a start is given.
        idle: seconds of doing nothing that are measured.
        repeat: presses of `key`.
    """

    command: Sequence[str]
    rows: int = 36
    columns: int = 120
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    ready: str | None = None
    key: str | None = None
    back: str | None = None
    before: Sequence[tuple[str, float]] = ()
    starts: int = 3
    settle: float = 4.0
    idle: float = 10.0
    repeat: int = 40
    hold: bool = True
    resize: bool = False
    png: Path | None = None


def measure(plan: Plan) -> dict[str, Any]:
    """Everything that the plan asks for; what could not be measured is None."""
    result: dict[str, Any] = {}
    terminal = _measure_starts(plan, result)
    try:
        _press_before(terminal, plan)
        if plan.idle:
            _measure_idle(terminal, plan, result)
        result["rss_mb"], result["pss_mb"] = terminal.memory_mb()
        if plan.key:
            result.update(
                _key_result([done for number in range(plan.repeat) for done in press(terminal, plan, number)])
            )
        if plan.key and plan.hold:
            _measure_held_key(terminal, plan.key, result)
        if plan.resize:
            _measure_resize(terminal, plan, result)
        if plan.png is not None:
            picture(terminal, plan.png)
        result["died"] = terminal.eof
    finally:
        terminal.close()
    return result


def _press_before(terminal: Terminal, plan: Plan) -> None:
    for key, seconds in plan.before:
        terminal.send(key_bytes(key))
        terminal.pump(seconds)


def _measure_starts(plan: Plan, result: dict[str, Any]) -> Terminal:
    """Times each start; the last one goes on."""
    frames, first_bytes, cpu = [], [], []
    for number in range(plan.starts):
        terminal = Terminal(plan.command, rows=plan.rows, columns=plan.columns, env=plan.env, cwd=plan.cwd)
        terminal.pump(plan.settle)
        frame = first_frame(terminal.log, plan.rows, plan.columns, plan.ready)
        frames += [frame] if frame is not None else []
        first_bytes += [terminal.log[0][0] * 1e3] if terminal.log else []
        cpu.append(terminal.cpu_seconds())
        if number < plan.starts - 1:
            terminal.close()
    result["first_byte_ms"] = statistics.median(first_bytes) if first_bytes else None
    result["first_frame_ms"] = statistics.median(frames) if frames else None
    result["start_bytes"] = len(terminal.output())
    result["start_cpu_s"] = statistics.median(cpu)
    return terminal


def _measure_idle(terminal: Terminal, plan: Plan, result: dict[str, Any]) -> None:
    mark, cpu, start = len(terminal.log), terminal.cpu_seconds(), time.perf_counter()
    terminal.pump(plan.idle)
    seconds = time.perf_counter() - start
    output = terminal.output(mark)
    result["idle_cpu_pct"] = 100 * (terminal.cpu_seconds() - cpu) / seconds
    result["idle_bytes_s"] = len(output) / seconds
    result["idle_zlib_bytes_s"] = len(zlib.compress(output, 6)) / seconds if output else 0.0


@dataclass(frozen=True)
class Press:
    """What came of one key; `back` is whether it was the plan's `back`."""

    milliseconds: float
    size: int
    back: bool


def press(terminal: Terminal, plan: Plan, number: int) -> list[Press]:
    """One press of the plan's key, or of its `back` for odd numbers; nothing when nothing was drawn."""
    back = plan.back is not None and number % 2 == 1
    key = plan.back if back else plan.key
    mark, start = len(terminal.log), time.perf_counter()
    terminal.send(key_bytes(key or ""))
    terminal.pump(1.0, quiet=QUIET_SECONDS)
    if len(terminal.log) == mark:
        return []
    done = Press((terminal.log[-1][0] + terminal.started - start) * 1e3, len(terminal.output(mark)), back)
    terminal.pump(0.02)
    return [done]


def _key_result(pressed: Sequence[Press]) -> dict[str, Any]:
    if not pressed:
        return {}
    ordered = sorted(done.milliseconds for done in pressed)
    return {
        "key_n": len(pressed),
        "key_forth_ms": statistics.median(done.milliseconds for done in pressed if not done.back),
        "key_done_ms": statistics.median(ordered),
        "key_done_p95_ms": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "key_bytes": statistics.median(done.size for done in pressed),
    }


def _measure_held_key(terminal: Terminal, key: str, result: dict[str, Any]) -> None:
    mark, cpu, start = len(terminal.log), terminal.cpu_seconds(), time.perf_counter()
    for number in range(int(HELD_HZ * HELD_SECONDS)):
        terminal.send(key_bytes(key))
        terminal.pump(max(0.0, start + (number + 1) / HELD_HZ - time.perf_counter()))
    end = time.perf_counter()
    result["hold_cpu_pct"] = 100 * (terminal.cpu_seconds() - cpu) / (end - start)
    result["hold_bytes_s"] = len(terminal.output(mark)) / (end - start)
    # What lags goes on without a pause; what comes after one, as a preview may, does not lag.
    while terminal.pump(QUIET_SECONDS):
        pass
    result["hold_lag_ms"] = max(0.0, (terminal.log[-1][0] + terminal.started - end) * 1e3) if terminal.log else None


def _measure_resize(terminal: Terminal, plan: Plan, result: dict[str, Any]) -> None:
    done = []
    for rows, columns in ((24, 80), (plan.rows, plan.columns), (50, 200), (plan.rows, plan.columns)):
        mark, start = len(terminal.log), time.perf_counter()
        terminal.resize(rows, columns)
        terminal.pump(2.0, quiet=0.2)
        if len(terminal.log) > mark:
            done.append((terminal.log[-1][0] + terminal.started - start) * 1e3)
    result["resize_ms"] = statistics.median(done) if done else None


# A picture of the screen


_NAMED = {
    "black": "000000",
    "red": "cd3131",
    "green": "0dbc79",
    "brown": "e5e510",
    "blue": "2472c8",
    "magenta": "bc3fbc",
    "cyan": "11a8cd",
    "white": "e5e5e5",
}
_GROUND, _TEXT = (16, 16, 16), (220, 220, 220)
_DOTS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
_FONTS = ("DejaVuSansMono.ttf", "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf")


def picture(terminal: Terminal, path: Path) -> None:
    """The screen as a PNG, and as text beside it. Braille is drawn as dots, so no font decides how charts look."""
    replay = Replay(terminal.rows, terminal.columns)
    replay.feed(terminal.output())
    path.with_suffix(".txt").write_text(replay.text)
    _draw(replay.screen, path)


def _draw(screen: Any, path: Path) -> None:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (screen.columns * CELL_WIDTH, screen.lines * CELL_HEIGHT), _GROUND)
    draw, font = ImageDraw.Draw(image), _font()
    for y in range(screen.lines):
        for x in range(screen.columns):
            cell = screen.buffer[y][x]
            front, ground = _rgb(cell.fg, _TEXT), _rgb(cell.bg, _GROUND)
            if cell.reverse:
                front, ground = ground, front
            left, top = x * CELL_WIDTH, y * CELL_HEIGHT
            draw.rectangle((left, top, left + CELL_WIDTH - 1, top + CELL_HEIGHT - 1), fill=ground)
            if cell.data and 0x2800 <= ord(cell.data[0]) <= 0x28FF:
                for bit, (dot_x, dot_y) in enumerate(_DOTS):
                    if (ord(cell.data[0]) - 0x2800) >> bit & 1:
                        at_x, at_y = left + 1 + dot_x * 5, top + 1 + dot_y * 5
                        draw.rectangle((at_x, at_y, at_x + 2, at_y + 2), fill=front)
            elif cell.data and cell.data != " ":
                draw.text((left, top), cell.data, font=font, fill=front)
    image.save(path)


def _font() -> Any:
    from PIL import ImageFont

    for name in _FONTS:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, 16)
    return ImageFont.load_default()


def _rgb(colour: str, default: tuple[int, int, int]) -> tuple[int, int, int]:
    if colour == "default":
        return default
    text = _NAMED.get(colour.replace("bright", ""), colour)
    try:
        return int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16)
    except ValueError:
        return default


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="120x36")
    parser.add_argument("--ready")
    parser.add_argument("--settle", type=float, default=4.0)
    parser.add_argument("--idle", type=float, default=10.0)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--key")
    parser.add_argument("--back")
    parser.add_argument("--repeat", type=int, default=40)
    parser.add_argument("--before", action="append", default=[], metavar="KEY=SECONDS")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--cwd")
    parser.add_argument("--resize", action="store_true")
    parser.add_argument("--png", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    columns, rows = map(int, given.size.split("x"))
    before = [(key, float(seconds or 0.5)) for key, _, seconds in (text.partition("=") for text in given.before)]
    result = measure(
        Plan(
            command=given.command,
            rows=rows,
            columns=columns,
            env=dict(text.split("=", 1) for text in given.env),
            cwd=given.cwd,
            ready=given.ready,
            key=given.key,
            back=given.back,
            before=before,
            starts=given.starts,
            settle=given.settle,
            idle=given.idle,
            repeat=given.repeat,
            resize=given.resize,
            png=given.png,
        )
    )
    text = json.dumps(result)
    if given.json is not None:
        given.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
