"""Keeps, finds and brings back runs: git, Parquet, journals and an index.

Everything public is named here and loaded at first use: `import dstui_store` costs nothing, and a listing never loads
the Parquet library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dstui_store.disclosure import Finding as Finding
    from dstui_store.envelope import Envelope as Envelope
    from dstui_store.envelope import order as order
    from dstui_store.errors import AmbiguousRunError as AmbiguousRunError
    from dstui_store.errors import DamagedError as DamagedError
    from dstui_store.errors import FormatError as FormatError
    from dstui_store.errors import GitError as GitError
    from dstui_store.errors import LimitError as LimitError
    from dstui_store.errors import LockedError as LockedError
    from dstui_store.errors import NotAStoreError as NotAStoreError
    from dstui_store.errors import RemoteError as RemoteError
    from dstui_store.errors import RemoteRefusedError as RemoteRefusedError
    from dstui_store.errors import RunNotFoundError as RunNotFoundError
    from dstui_store.errors import StoreError as StoreError
    from dstui_store.extract import CodeTree as CodeTree
    from dstui_store.extract import Extracted as Extracted
    from dstui_store.git import git_version as git_version
    from dstui_store.git import read_config as read_config
    from dstui_store.incoming import Received as Received
    from dstui_store.incoming import Rewritten as Rewritten
    from dstui_store.index import Index as Index
    from dstui_store.journal import Series as Series
    from dstui_store.journal import Tail as Tail
    from dstui_store.layout import Layout as Layout
    from dstui_store.layout import file_system_type as file_system_type
    from dstui_store.layout import locate as locate
    from dstui_store.layout import machine_id as machine_id
    from dstui_store.layout import private_folder as private_folder
    from dstui_store.live import Liveness as Liveness
    from dstui_store.live import LiveRun as LiveRun
    from dstui_store.live import start_ticks as start_ticks
    from dstui_store.media import ArtifactFile as ArtifactFile
    from dstui_store.media import MediaItem as MediaItem
    from dstui_store.media import copy_kept as copy_kept
    from dstui_store.outgoing import Sent as Sent
    from dstui_store.remotes import Remote as Remote
    from dstui_store.repository import NewRun as NewRun
    from dstui_store.repository import Store as Store
    from dstui_store.schema import STATES as STATES
    from dstui_store.schema import MetricSummary as MetricSummary
    from dstui_store.schema import RunRecord as RunRecord
    from dstui_store.schema import flatten as flatten
    from dstui_store.schema import from_cache as from_cache
    from dstui_store.schema import iso_time as iso_time
    from dstui_store.schema import json_number as json_number
    from dstui_store.schema import new_run_id as new_run_id
    from dstui_store.schema import to_json as to_json
    from dstui_store.secrets import Masker as Masker
    from dstui_store.sharing import ShareState as ShareState
    from dstui_store.sharing import Sharing as Sharing
    from dstui_store.snapshot import Skipped as Skipped
    from dstui_store.snapshot import Snapshot as Snapshot
    from dstui_store.text import LogLine as LogLine
    from dstui_store.text import LogParser as LogParser
    from dstui_store.text import SafeText as SafeText
    from dstui_store.text import StyleSpan as StyleSpan
    from dstui_store.text import TextStyle as TextStyle
    from dstui_store.text import cell_width as cell_width
    from dstui_store.text import clean as clean
    from dstui_store.text import cut_text as cut_text
    from dstui_store.text import fit_text as fit_text
    from dstui_store.text import join_text as join_text
    from dstui_store.text import parse_line as parse_line
    from dstui_store.text import raw as raw
    from dstui_store.worker import Answer as Answer
    from dstui_store.worker import Worker as Worker
    from dstui_store.worktree import WorkTree as WorkTree
    from dstui_store.worktree import worktree_of as worktree_of

_HOMES = {
    "worktree": ("WorkTree", "worktree_of"),
    "envelope": ("Envelope", "order"),
    "errors": (
        "AmbiguousRunError",
        "DamagedError",
        "FormatError",
        "GitError",
        "LimitError",
        "LockedError",
        "NotAStoreError",
        "RemoteError",
        "RemoteRefusedError",
        "RunNotFoundError",
        "StoreError",
    ),
    "extract": ("CodeTree", "Extracted"),
    "git": ("git_version", "read_config"),
    "incoming": ("Received", "Rewritten"),
    "disclosure": ("Finding",),
    "outgoing": ("Sent",),
    "remotes": ("Remote",),
    "sharing": ("ShareState", "Sharing"),
    "index": ("Index",),
    "layout": ("Layout", "file_system_type", "locate", "machine_id", "private_folder"),
    "live": ("Liveness", "LiveRun", "start_ticks"),
    "media": ("ArtifactFile", "MediaItem", "copy_kept"),
    "repository": ("NewRun", "Store"),
    "schema": (
        "STATES",
        "MetricSummary",
        "RunRecord",
        "flatten",
        "iso_time",
        "json_number",
        "new_run_id",
        "from_cache",
        "to_json",
    ),
    "journal": ("Series", "Tail"),
    "secrets": ("Masker",),
    "snapshot": ("Skipped", "Snapshot"),
    "text": (
        "LogLine",
        "LogParser",
        "SafeText",
        "StyleSpan",
        "TextStyle",
        "cell_width",
        "clean",
        "cut_text",
        "fit_text",
        "join_text",
        "parse_line",
        "raw",
    ),
    "worker": ("Answer", "Worker"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module `dstui_store` has no attribute `{name}`")
    return getattr(importlib.import_module(f"dstui_store.{home}"), name)
