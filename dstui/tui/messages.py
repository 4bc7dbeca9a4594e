"""What the reader's threads and the panes tell the app."""

from __future__ import annotations

from textual.message import Message


class SnapshotReady(Message):
    """A snapshot of this kind waits in the reader's mailbox."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
