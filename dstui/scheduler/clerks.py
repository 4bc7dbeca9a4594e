"""The daemon's end of its clerks: processes that do the store's work, one request at a time."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dstui.scheduler.place import Place

MESSAGE_BYTES = 1 << 18

Answered = Callable[[dict[str, Any], list[int]], None]
"""Takes an answer and the descriptors that came with it."""


class ClerkLink:
    """One clerk, started when there is work; the work that waits for it.

    Args:
        on_answer: called in `receive`; `{"ok": False, ..}` too when the clerk died over a request.

    Attributes:
        asked_at: when the request that is being worked on was sent, on the caller's clock; None = it is idle.
    """

    def __init__(self, place: Place, on_answer: Answered) -> None:
        self._place, self._on_answer = place, on_answer
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._waiting: deque[dict[str, Any]] = deque()
        self._current: dict[str, Any] | None = None
        self.asked_at: float | None = None

    @property
    def descriptor(self) -> int | None:
        """What to wait for."""
        return None if self._socket is None else self._socket.fileno()

    @property
    def is_busy(self) -> bool:
        """Whether anything is asked or waits."""
        return self._current is not None or bool(self._waiting)

    def ask(self, wish: Mapping[str, Any], now: float, *, first: bool = False) -> None:
        """Have something done after what waits already, or before it."""
        if first:
            self._waiting.appendleft(dict(wish))
        else:
            self._waiting.append(dict(wish))
        self._next(now)

    def receive(self, now: float) -> None:
        """Take an answer, or notice that the clerk has left."""
        assert self._socket is not None
        try:
            message, rights, _, _ = self._socket.recvmsg(MESSAGE_BYTES, socket.CMSG_SPACE(8 * 4))
        except BlockingIOError:
            return
        except OSError:
            message, rights = b"", []
        descriptors = array.array("i")
        for level, kind, data in rights:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        current, self._current, self.asked_at = self._current, None, None
        if message:
            self._on_answer(json.loads(message), list(descriptors))
        else:
            self.close()
            if current is not None:
                self._on_answer({**current, "ok": False, "message": "the clerk died", "code": None}, [])
        self._next(now)

    def close(self) -> None:
        """Let the clerk go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _next(self, now: float) -> None:
        if self._current is not None or not self._waiting:
            return
        if self._socket is None:
            self._start()
        assert self._socket is not None
        wish = self._waiting.popleft()
        try:
            self._socket.send(json.dumps(wish).encode())
        except OSError:
            # It left for want of work just now; the end of its socket is still to be read, or is skipped here.
            self.close()
            self._start()
            self._socket.send(json.dumps(wish).encode())
        self._current, self.asked_at = wish, now

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [sys.executable, "-P", "-m", "dstui.scheduler.clerk", str(self._place.folder), str(theirs.fileno())]
            self._process = subprocess.Popen(
                words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True, cwd=os.sep
            )
        ours.setblocking(False)
        self._socket = ours
