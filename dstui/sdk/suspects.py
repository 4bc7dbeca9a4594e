"""Which change since the last good run is the likeliest cause of a failure. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from dstui.sdk.differences import changed_lines

if TYPE_CHECKING:
    from dstui.sdk.differences import Difference
    from dstui.sdk.failures import Failure
    from dstui.sdk.tracebacks import Frame

_MEMORY_KEYS = re.compile(
    r"batch|seq|len|size|hidden|width|depth|layer|dim|accum|precision|dtype|worker|image|res|crop|head|context|model"
)
_STEP_KEYS = re.compile(r"(^|[._-])lr|rate|eps|clip|warmup|momentum|decay|beta|precision|amp|fp16|bf16|scale|loss|init")


@dataclass(frozen=True, slots=True)
class RunChange:
    """One difference to the run before.

    Attributes:
        kind: `command config code data packages environment`.
        likely: why it may be the cause, None when nothing points to it.
    """

    kind: str
    what: str
    before: Any
    after: Any
    likely: str | None
    weight: int


class Judge:
    """Weighs changes by what a failure points to.

    Args:
        failure: None for a run that did not end badly.
        cwd: where it ran.
        patch: the unified diff of the code.
        diverged: whether a metric left the numbers or its best value.
    """

    def __init__(self, failure: Failure | None, cwd: str, patch: bytes, *, diverged: bool) -> None:
        self._failure = failure
        self.kind = "" if failure is None else failure.kind
        self._text = "" if failure is None else "\n".join(failure.evidence)
        self._frames: Sequence[Frame] = () if failure is None else failure.frames
        self._cwd = cwd
        self._diverged = diverged or self.kind == "not_a_number"
        self._touched = changed_lines(patch)

    def config(self, item: Difference) -> RunChange:
        """A param: one that the message names, or that takes memory or sets the step."""
        weight, why = 45, None
        name = item.key.rpartition(".")[2]
        if name and re.search(rf"\b{re.escape(name)}\b", self._text):
            weight, why = 100, "the message names it"
        elif isinstance(item.after, str) and len(item.after) > 3 and item.after in self._text:
            weight, why = 95, "the message names its value"
        elif self.kind in ("gpu_memory", "host_memory", "shared_memory", "worker_killed"):
            if _MEMORY_KEYS.search(name.lower()):
                weight, why = (90, "it is larger now") if _grew(item) else (70, "it decides how much memory is needed")
        elif self._diverged and _STEP_KEYS.search(name.lower()):
            weight, why = 90, "it decides whether training is stable"
        return RunChange("config", item.key, item.before, item.after, why, weight)

    def code(self, path: str, added: int | None, removed: int | None, kind: str) -> RunChange:
        """A file: the one that failed, the very line, or one on the way."""
        weight, why = 50, None
        lines = [frame.line for frame in self._frames if self._is_file(frame.path, path)]
        hit = next(
            (line for line in reversed(lines) if any(line in part for part in self._touched.get(path, ()))), None
        )
        if hit is not None:
            weight, why = 110, f"it failed in line {hit}, which changed"
        elif lines:
            weight, why = 85, f"it failed in line {lines[-1]} of this file"
        elif self.kind == "syntax" and path in self._text:
            weight, why = 110, "Python could not read it"
        counts = None if added is None else f"+{added} -{removed}"
        return RunChange("code", path, None if kind == "added" else "", counts or kind, why, weight)

    def data(self, item: Difference) -> RunChange:
        """A file or folder that was read."""
        weight, why = 30, None
        if item.key in self._text or PurePath(item.key).name in self._text:
            weight, why = 100, "the message names it"
        elif self.kind == "missing_file":
            weight = 55
        return RunChange("data", item.key, item.before, item.after, why, weight)

    def package(self, item: Difference) -> RunChange:
        """A package: the one that raised, or one that the message names."""
        weight, why = 25, None
        module = item.key.replace("-", "_")
        last = self._failure.deepest.path if self._failure is not None and self._failure.deepest is not None else ""
        if re.search(rf"\b{re.escape(module)}\b", self._text, re.IGNORECASE):
            weight, why = 95, "the message names it"
        elif f"/{module}/" in last:
            weight, why = 80, "the error was raised in it"
        elif any(f"/{module}/" in frame.path for frame in self._frames):
            weight, why = 60, "the error passed through it"
        elif self.kind in ("missing_module", "import", "crash"):
            weight = 55
        elif self.kind.startswith(("gpu", "nccl")) and module.startswith(("torch", "nvidia", "jax", "triton")):
            weight, why = 65, "it drives the GPU"
        return RunChange("packages", item.key, item.before, item.after, why, weight)

    def environment(self, item: Difference) -> RunChange:
        """Python, driver, GPU, machine, variables."""
        weight, why = 20, None
        group = item.key.partition(".")[0]
        variable = item.key.removeprefix("variables.")
        gpu = group in ("driver", "gpus", "torch") or variable.startswith(("CUDA", "NVIDIA", "NCCL", "PYTORCH"))
        if self.kind in ("gpu_driver", "gpu_error", "gpu_memory", "nccl", "nccl_timeout") and gpu:
            weight, why = 80, "it is about the GPU"
        elif self.kind in ("missing_module", "import") and group in ("python", "conda"):
            weight, why = 75, "packages belong to one interpreter"
        elif self.kind == "host_memory" and item.key == "host.memory_bytes":
            weight, why = 80, "the machine has another amount of memory"
        elif item.key in ("host.name", "host.kernel", "python.executable", "python.prefix"):
            weight = 15
        return RunChange("environment", item.key, item.before, item.after, why, weight)

    def command(self, item: Difference) -> RunChange:
        """The words of the command."""
        weight, why = (105, "the script did not accept it") if self.kind == "arguments" else (35, None)
        return RunChange("command", "command", shlex.join(item.before), shlex.join(item.after), why, weight)

    def _is_file(self, printed: str, path: str) -> bool:
        """Whether a path of a traceback means a file of the project."""
        name = printed.removeprefix("./")
        return name == path or name.endswith(f"/{path}") or path == f"{PurePath(self._cwd).name}/{name}"


def _grew(item: Difference) -> bool:
    numbers = isinstance(item.before, int | float) and isinstance(item.after, int | float)
    return numbers and item.after > item.before
