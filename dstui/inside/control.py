"""The socket through which fronts and `ds stop` speak with a keeper: who is attached, and what they are told.

Datagrams on SOCK_SEQPACKET. From a client: one letter and its data (`supervisor.py` lists them). To an attached client:
a JSON object, or `T`, a stream number and bytes of output that the log does not hold.
No client can hold the keeper up: what does not fit into a socket now waits, and notices of output replace each other.
"""

from __future__ import annotations

import _socket  # The package around it loads 5 ms of modules that are not needed here.
import json
import os
import select
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MESSAGE_BYTES = 1 << 16
"""Longest message taken from a client; also the most raw output in one message to it."""

WAITING_MESSAGES = 64
"""Raw output for a client that does not read is dropped above this many waiting messages."""

BACKLOG = 16
"""Connections waiting to be accepted."""


class Client:
    """One connection.

    Attributes:
        attached: whether it is told of events.
        segment: lowest segment of the log that it may still read; None until it is attached.
        paused: True while no message is taken from it, because the command does not take its input.
    """

    def __init__(self, socket: _socket.socket) -> None:
        socket.setblocking(False)
        self.socket = socket
        self.attached = False
        self.segment: int | None = None
        self.paused = False
        self._waiting: list[bytes] = []
        self._log_bytes: int | None = None

    @property
    def events(self) -> int:
        """What to poll its socket for."""
        wanted = 0 if self.paused else select.POLLIN
        return wanted | (select.POLLOUT if self._waiting or self._log_bytes is not None else 0)

    def tell(self, message: bytes, *, droppable: bool = False) -> None:
        """Send a message, now or when the client reads again."""
        if not (droppable and len(self._waiting) >= WAITING_MESSAGES):
            self._waiting.append(message)
            self.flush()

    def tell_event(self, event: dict[str, Any]) -> None:
        """Send an event."""
        self.tell(_json(event))

    def tell_output(self, log_bytes: int) -> None:
        """Send the present size of the log; one that waits is replaced."""
        self._log_bytes = log_bytes
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as it goes."""
        try:
            while self._waiting:
                self.socket.send(self._waiting[0])
                del self._waiting[0]
            if self._log_bytes is not None:
                self.socket.send(_json({"event": "output", "log_bytes": self._log_bytes}))
                self._log_bytes = None
        except BlockingIOError:
            pass
        except OSError:
            # The client is gone; reading from it will say so.
            self._waiting.clear()
            self._log_bytes = None

    def receive(self) -> bytes | None:
        """The next message; None when there is none now, empty when the client has left."""
        try:
            return self.socket.recv(MESSAGE_BYTES)
        except (BlockingIOError, ConnectionResetError):
            # Reset is told once, before the messages that a client left behind when it went without reading ours.
            return None
        except OSError:
            return b""


class Control:
    """All connections of a keeper.

    Args:
        on_message: called with the client and a message; what it raises for a senseless one is ignored.
        on_attach: called with a client that became attached, to greet it.
        on_leave: called when a client has left.
    """

    def __init__(
        self,
        on_message: Callable[[Client, bytes], None],
        on_attach: Callable[[Client], None],
        on_leave: Callable[[Client], None],
    ) -> None:
        self.clients: dict[int, Client] = {}
        self.listener: _socket.socket | None = None
        self._on_message = on_message
        self._on_attach = on_attach
        self._on_leave = on_leave

    def listen(self, directory: int) -> None:
        """Open the socket `control` in a directory given as a descriptor.

        Raises:
            OSError: it cannot be made there.
        """
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        # By descriptor, because the path of a socket must be short.
        path = f"/proc/self/fd/{directory}/control"
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        self.listener = listener

    def close_listener(self) -> None:
        """Take no more clients: who comes now is refused, and reads in the files how the run ended."""
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def accept(self) -> None:
        """Take one waiting connection; another user's is closed at once."""
        if self.listener is None:
            return
        try:
            descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        socket = _socket.socket(fileno=descriptor)
        credentials = socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] == os.geteuid():
            self.clients[descriptor] = Client(socket)
        else:
            socket.close()

    def adopt(self, descriptor: int) -> None:
        """Attach the front that started this keeper; it holds the other end."""
        client = self.clients[descriptor] = Client(_socket.socket(fileno=descriptor))
        self.attach(client)

    def attach(self, client: Client) -> None:
        """Tell this client of events from now on."""
        client.attached = True
        client.segment = 0
        self._on_attach(client)

    def receive(self, client: Client) -> None:
        """Take one message of a client, or notice that it has left."""
        message = client.receive()
        if message is None:
            return
        if not message:
            self._drop(client)
        elif message == b"A":
            self.attach(client)
        else:
            try:
                self._on_message(client, message)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError, struct.error):
                pass  # Nonsense from a client is its own trouble.

    def attached(self) -> list[Client]:
        """The clients that are told of events."""
        return [client for client in self.clients.values() if client.attached]

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event to all attached."""
        message = _json(event)
        for client in self.attached():
            client.tell(message)

    def tell_output(self, log_bytes: int) -> None:
        """Send the size of the log to all attached."""
        for client in self.attached():
            client.tell_output(log_bytes)

    def tell_raw(self, stream: int, data: bytes) -> None:
        """Send output that the log does not hold, to those who keep up."""
        for start in range(0, len(data), MESSAGE_BYTES):
            for client in self.attached():
                client.tell(b"T" + bytes([stream]) + data[start : start + MESSAGE_BYTES], droppable=True)

    def oldest_segment(self) -> int | None:
        """The lowest segment of the log that somebody attached has not passed."""
        return min((client.segment for client in self.clients.values() if client.segment is not None), default=None)

    def _drop(self, client: Client) -> None:
        del self.clients[client.socket.fileno()]
        client.socket.close()
        self._on_leave(client)


def _json(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()
