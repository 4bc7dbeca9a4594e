"""The face of dstui: what the command line, the dashboard and Python scripts build on."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dstui.execution.capture import capture_of as capture_of
    from dstui.execution.command import parse_assignment as parse_assignment
    from dstui.execution.front import end_like as end_like
    from dstui.execution.launch import Outcome as Outcome
    from dstui.execution.launch import Request as Request
    from dstui.sdk.differences import RunDifference as RunDifference
    from dstui.sdk.doctor import Check as Check
    from dstui.sdk.doctor import examine as examine
    from dstui.sdk.explaining import explain as explain
    from dstui.sdk.failures import Failure as Failure
    from dstui.sdk.media import table_content as table_content
    from dstui.sdk.monitoring import machine_json as machine_json
    from dstui.sdk.monitoring import system_lines as system_lines
    from dstui.sdk.monitoring import watch_machine as watch_machine
    from dstui.sdk.project import Project as Project
    from dstui.sdk.project import init_project as init_project
    from dstui.sdk.project import open_project as open_project
    from dstui.sdk.project import open_store as open_store
    from dstui.sdk.runs import RunDetail as RunDetail
    from dstui.sdk.runs import RunView as RunView
    from dstui.sdk.runs import artifact_json as artifact_json
    from dstui.sdk.runs import media_json as media_json
    from dstui.sdk.status import Status as Status
    from dstui.sdk.status import read_status as read_status
    from dstui.sdk.suspects import RunChange as RunChange
    from dstui.sdk.tracebacks import Frame as Frame
    from dstui.sdk.why import Explanation as Explanation
    from dstui_store import LogLine as LogLine
    from dstui_store import LogParser as LogParser
    from dstui_store import SafeText as SafeText
    from dstui_store import StoreError as StoreError
    from dstui_store import clean as clean

_HOME_OF = {
    "RunChange": "dstui.sdk.suspects",
    "explain": "dstui.sdk.explaining",
    "Explanation": "dstui.sdk.why",
    "Failure": "dstui.sdk.failures",
    "Frame": "dstui.sdk.tracebacks",
    "Check": "dstui.sdk.doctor",
    "LogLine": "dstui_store",
    "LogParser": "dstui_store",
    "Outcome": "dstui.execution.launch",
    "Project": "dstui.sdk.project",
    "Request": "dstui.execution.launch",
    "RunDetail": "dstui.sdk.runs",
    "RunDifference": "dstui.sdk.differences",
    "RunView": "dstui.sdk.runs",
    "SafeText": "dstui_store",
    "Status": "dstui.sdk.status",
    "StoreError": "dstui_store",
    "artifact_json": "dstui.sdk.runs",
    "media_json": "dstui.sdk.runs",
    "table_content": "dstui.sdk.media",
    "capture_of": "dstui.execution.capture",
    "clean": "dstui_store",
    "end_like": "dstui.execution.front",
    "examine": "dstui.sdk.doctor",
    "init_project": "dstui.sdk.project",
    "machine_json": "dstui.sdk.monitoring",
    "open_project": "dstui.sdk.project",
    "parse_assignment": "dstui.execution.command",
    "read_status": "dstui.sdk.status",
    "system_lines": "dstui.sdk.monitoring",
    "watch_machine": "dstui.sdk.monitoring",
    "open_store": "dstui.sdk.project",
}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module `dstui.sdk` has no attribute `{name}`")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
