"""What the last output of a failed command says of its cause. Pure; the text may be anybody's.

First the traceback that ended the command is chosen, past those of launchers and of ranks that only followed. Then a
table of known causes is asked, in order, what its words mean and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dstui.sdk.tracebacks import Frame, Traceback, find

MAX_LINES = 5_000
"""Lines of output that are looked at, the last."""

LAST_LINES = 200
"""Of these, where a cause without a traceback is looked for."""

STALE_LINES = 200
"""A traceback with more lines after it was dealt with by the script."""

_OURS = re.compile(r"/_dstui/|/dstui/inside/")
"""Our own hook in the script, through which some calls pass."""

_LIBRARY = re.compile(r"(^<|/(site|dist)-packages/|/lib(64)?/python\d|/\.pyenv/|/conda/lib/)")
_WRAPPERS = ("ChildFailedError", "CalledProcessError", "ProcessExitedException", "ProcessRaisedException")
_FOLLOWERS = re.compile(
    r"NCCL|Connection (reset|closed|refused)|DistBackendError|DistStoreError|Broken pipe|Gloo", re.I
)
_ROOT_RANK = re.compile(r"^\s*rank\s*: (\d{1,5})")


@dataclass(frozen=True, slots=True)
class Rule:
    """One known cause.

    Attributes:
        kind: its short name in JSON.
        pattern: what its text holds.
        meaning: one sentence.
        action: what to do; `{run}`, `{good}` and `{python}` stand for the run, the last good one, the interpreter.
        alone: it also counts as a line of output without a traceback.
    """

    kind: str
    pattern: re.Pattern[str]
    meaning: str
    action: str
    alone: bool = True


def _rule(kind: str, pattern: str, meaning: str, action: str, *, alone: bool = True) -> Rule:
    return Rule(kind, re.compile(pattern), meaning, action, alone)


RULES = (
    _rule(
        "gpu_memory",
        r"CUDA out of memory|torch\.(cuda\.)?OutOfMemoryError|CUDA_ERROR_OUT_OF_MEMORY|HIP out of memory"
        r"|RESOURCE_EXHAUSTED: |CUBLAS_STATUS_ALLOC_FAILED",
        "the GPU's memory was full",
        "make the batch or the model smaller, or use gradient accumulation or a lower precision",
    ),
    _rule(
        "shared_memory",
        r"out of shared memory|raise your shared memory limit|Bus error.{0,80}shared memory",
        "the shared memory of the data-loading workers was full",
        "use fewer `num_workers`, or make /dev/shm larger (`--shm-size` of a container)",
    ),
    _rule(
        "worker_killed",
        r"DataLoader worker \(pid(\(s\))? [\d, ]{1,200}\) (is killed by signal|exited unexpectedly)",
        "a data-loading worker died, most often for lack of memory",
        "try `num_workers=0` to see its own error; watch the memory of the machine",
    ),
    _rule(
        "device_assert",
        r"device-side assert triggered",
        "a check inside a GPU kernel failed, most often an index or label out of range",
        "run it again with `CUDA_LAUNCH_BLOCKING=1`, or on the CPU, to see the true line",
    ),
    _rule(
        "gpu_driver",
        r"driver version is insufficient|driver on your system is too old|no kernel image is available"
        r"|No CUDA GPUs are available|Torch not compiled with CUDA enabled|forward compatibility was attempted"
        r"|CUDA unknown error|CUDA driver initialization failed|no CUDA-capable device",
        "PyTorch's build, the driver and the GPU do not fit together, or no GPU is visible",
        "compare `nvidia-smi`, `CUDA_VISIBLE_DEVICES` and the CUDA version of PyTorch; `ds diff {good} {run} --env`",
    ),
    _rule(
        "nccl_timeout",
        r"Watchdog caught collective operation timeout|collective operation timeout",
        "the ranks waited for each other until the time was over: one was slow, gone, or took another path",
        "look for the rank that stopped first; `TORCH_DISTRIBUTED_DEBUG=DETAIL` names the collective",
    ),
    _rule(
        "nccl",
        r"NCCL error|ncclSystemError|ncclUnhandledCudaError|ncclInternalError|ncclRemoteError|DistBackendError",
        "the GPUs could not talk to each other",
        "run it again with `NCCL_DEBUG=INFO`; look for another rank's error before this one",
    ),
    _rule(
        "gpu_error",
        r"CUDA error: |CUDA_ERROR_|illegal memory access|cuDNN error|CUBLAS_STATUS_|CUDNN_STATUS_|Xid",
        "a GPU kernel failed; the line that reports it may be a later one",
        "run it again with `CUDA_LAUNCH_BLOCKING=1`; `dmesg` shows whether the GPU itself failed",
    ),
    _rule(
        "disk_full",
        r"No space left on device|Disk quota exceeded|\[Errno (28|122)\]|PytorchStreamWriter failed writing",
        "the disk was full",
        "free some space (`df -h`, `ds doctor`), or write elsewhere",
    ),
    _rule(
        "host_memory",
        r"^MemoryError|Unable to allocate .{1,80} for an array|Cannot allocate memory|std::bad_alloc|oom[-_]kill"
        r"|Out of memory: Killed|DefaultCPUAllocator: ",
        "the machine's memory was full",
        "load less at once, use fewer `num_workers`, or a machine with more memory",
    ),
    _rule(
        "too_many_files",
        r"Too many open files|\[Errno 24\]",
        "too many files were open at once",
        "raise the limit (`ulimit -n`), or `torch.multiprocessing.set_sharing_strategy('file_system')`",
    ),
    _rule(
        "missing_module",
        r"ModuleNotFoundError: No module named|No module named [\w.']+$",
        "a Python module is not installed in the interpreter that ran it",
        "install it there (`{python} -m pip install ..`), or run with the right environment",
    ),
    _rule(
        "import",
        r"^ImportError: |undefined symbol: |cannot open shared object file|version `GLIBC",
        "a package or library does not fit the others",
        "`ds diff {good} {run} --packages` shows what changed; reinstall the package that is named",
    ),
    _rule(
        "arguments",
        r"^[\w./-]{1,120}: error: |^Error: (No such option|Missing |Invalid value|Got unexpected)"
        r"|^(Could not override|Key .{1,80} is not in struct)|ConfigCompositionException",
        "the script did not accept its arguments",
        "correct the command; `ds show {run}` has it as it was",
    ),
    _rule(
        "no_script",
        r"can't open file .{1,400}\[Errno 2\]|: command not found$|: not found$",
        "a program or script of the command is not there",
        "check its path; `ds show {run}` has the command and the folder",
    ),
    _rule(
        "syntax",
        r"^(SyntaxError|IndentationError|TabError): ",
        "Python could not read the file",
        "correct the line that is named",
    ),
    _rule(
        "network",
        r"Max retries exceeded|NameResolutionError|Temporary failure in name resolution|ConnectTimeout|GatedRepoError"
        r"|RepositoryNotFoundError|LocalEntryNotFoundError|\b40[13] Client Error|RemoteDisconnected",
        "something could not be fetched over the network",
        "check the connection and the credentials, or fetch it beforehand and run offline",
    ),
    _rule(
        "missing_file",
        r"FileNotFoundError: |No such file or directory|NotADirectoryError: |IsADirectoryError: ",
        "a file is not where it was looked for",
        "check the path and the folder; `ds show {run}` names the data",
    ),
    _rule(
        "permission",
        r"PermissionError: |Permission denied|Read-only file system",
        "a file may not be read or written",
        "check its owner and mode, or write elsewhere",
    ),
    _rule(
        "not_a_number",
        r"(?i)\bloss\b.{0,40}\bnan\b|\bnan\b.{0,40}\bloss\b|contains (nan|infinity)|nan or inf|found (nan|inf)\b"
        r"|non-?finite|returned nan values|FloatingPointError",
        "the training diverged: a value is no number any more",
        "lower the learning rate or clip gradients; `torch.autograd.set_detect_anomaly(True)` names the operation",
    ),
    _rule(
        "weights",
        r"loading state_dict|size mismatch for |Unexpected key\(s\) in state_dict|Missing key\(s\) in state_dict"
        r"|PytorchStreamReader|invalid load key|UnpicklingError",
        "a checkpoint does not fit the model, or is damaged",
        "compare the model's settings with those of the run that wrote it",
    ),
    _rule(
        "devices_mixed",
        r"Expected all tensors to be on the same device|Input type .{1,80} and weight type",
        "tensors of one operation are on different devices",
        "move them to one device at the line that is named",
    ),
    _rule(
        "shapes",
        r"shapes cannot be multiplied|The size of tensor a|shape mismatch|not aligned|size mismatch"
        r"|could not be broadcast|Expected input batch_size|expected scalar type|Sizes of tensors must match",
        "shapes or types of arrays do not fit together",
        "print the shapes at the line that is named",
        alone=False,
    ),
    _rule(
        "crash",
        r"^Fatal Python error: |Segmentation fault|core dumped|^Aborted|^Bus error|^Illegal instruction"
        r"|terminate called after throwing|Floating point exception",
        "native code crashed, below Python",
        "run it with `PYTHONFAULTHANDLER=1` to see the Python line; suspect packages with native code that changed",
    ),
    _rule(
        "time_limit",
        r"DUE TO TIME LIMIT|CANCELLED AT .{1,60} DUE TO",
        "the cluster's time limit ended it",
        "ask for more time, or save and resume",
    ),
    _rule(
        "killed",
        r"^Killed$|\bKilled\s+.{0,200}$|exitcode *: -9|Signal 9 \(SIGKILL\)",
        "a process was killed from outside, most often by the kernel for lack of memory",
        "`dmesg -T | grep -i kill` says who; watch the memory of the machine",
    ),
)
"""Known causes; of several that a text fits the first counts."""

WEAK_KINDS = frozenset({"crash", "killed"})
"""Causes that say how it ended, and not why."""

INTERRUPTED = _rule("interrupted", "^KeyboardInterrupt", "it was interrupted", "nothing to mend")


@dataclass(frozen=True, slots=True)
class Failure:
    """The cause of an end, as far as the output tells.

    Attributes:
        kind: of a rule; `exception` for any other, `unknown` when nothing was found.
        meaning: what it means in general, empty for a plain exception.
        action: what to do; None when the table knows nothing.
        exception, message: what was raised, None without a traceback.
        place: the last call in the user's own code.
        deepest: the last call at all.
        origin: (exception, message) that it followed from.
        evidence: lines of output that show it.
        rank: of which process, None for one alone.
        lines_after: lines of output after its end.
        frames: all of its calls, for whoever compares them with what changed.
    """

    kind: str
    meaning: str = ""
    action: str | None = None
    exception: str | None = None
    message: str | None = None
    place: Frame | None = None
    deepest: Frame | None = None
    origin: tuple[str, str] | None = None
    evidence: tuple[str, ...] = ()
    rank: int | None = None
    lines_after: int = 0
    frames: tuple[Frame, ...] = ()


def read_failure(lines: Sequence[str]) -> Failure:
    """What the end of an output says of the cause of a bad end.

    Args:
        lines: cleaned lines in order, the end of the output.
    """
    lines = lines[-MAX_LINES:]
    chosen = choose([_without_us(item) for item in find(lines)], lines)
    rule, line = _alone(lines)
    if chosen is None:
        if rule is None:
            return Failure("unknown", evidence=tuple(_last_words(lines)))
        return Failure(rule.kind, rule.meaning, rule.action, evidence=(line,), message=line)
    own = next((candidate for candidate in RULES if _fits(candidate, chosen)), None)
    if own is None and chosen.short_name == "KeyboardInterrupt":
        own = INTERRUPTED
    return _of_traceback(chosen, own, len(lines) - chosen.last - 1)


def _without_us(traceback: Traceback) -> Traceback:
    frames = tuple(frame for frame in traceback.frames if not _OURS.search(frame.path))
    cause = traceback.cause
    return replace(traceback, frames=frames, cause=None if cause is None else _without_us(cause))


def known(kind: str, evidence: str) -> Failure:
    """A cause of the table that something else than the output has shown."""
    rule = next(rule for rule in RULES if rule.kind == kind)
    return Failure(rule.kind, rule.meaning, rule.action, evidence=(evidence,))


def choose(found: Sequence[Traceback], lines: Sequence[str]) -> Traceback | None:
    """The traceback that tells the cause: of several processes the one that failed first and for itself."""
    if not found:
        return None
    last = found[-1]
    own = [item for item in found if item.short_name not in _WRAPPERS]
    if last.short_name in _WRAPPERS and own:
        root = _root_rank(lines)
        of_root = [item for item in own if root is not None and item.rank == root]
        independent = [item for item in of_root or own if not _FOLLOWERS.search(item.text)]
        return (independent or of_root or own)[0]
    if _FOLLOWERS.search(last.text):
        independent = [item for item in own if item.prefix != last.prefix and not _FOLLOWERS.search(item.text)]
        return independent[0] if independent else last
    return last


def _root_rank(lines: Sequence[str]) -> int | None:
    """The rank that a launcher names as the first to have failed."""
    heading = next((place for place, line in enumerate(lines) if line.startswith("Root Cause")), len(lines))
    ranks = (match for line in lines[heading : heading + 12] if (match := _ROOT_RANK.match(line)) is not None)
    return next((int(match[1]) for match in ranks), None)


def is_library(path: str) -> bool:
    """Whether a file of a traceback is Python's or a package's, not the user's own."""
    return _LIBRARY.search(path) is not None


def _fits(rule: Rule, chosen: Traceback) -> bool:
    whole: Traceback | None = chosen
    for _ in range(20):
        if whole is None:
            return False
        if any(rule.pattern.search(text) for text in (f"{whole.short_name}: {whole.message}", *whole.text.split("\n"))):
            return True
        whole = whole.cause
    return False


def _of_traceback(chosen: Traceback, rule: Rule | None, lines_after: int) -> Failure:
    place = next((frame for frame in reversed(chosen.frames) if not is_library(frame.path)), None)
    origin = chosen.cause
    for _ in range(20):
        if origin is None or origin.cause is None:
            break
        origin = origin.cause
    if place is None and origin is not None:
        place = next((frame for frame in reversed(origin.frames) if not is_library(frame.path)), None)
    return Failure(
        kind="exception" if rule is None else rule.kind,
        meaning="" if rule is None else rule.meaning,
        action=None if rule is None else rule.action,
        exception=chosen.exception or None,
        message=chosen.message or None,
        place=place,
        deepest=chosen.frames[-1] if chosen.frames else None,
        origin=None if origin is None else (origin.exception, origin.message),
        evidence=tuple(text for text in (f"{chosen.exception}: {chosen.message}".rstrip(": "), *chosen.detail) if text),
        rank=chosen.rank,
        lines_after=lines_after,
        frames=(*(origin.frames if origin is not None else ()), *chosen.frames),
    )


def _alone(lines: Sequence[str]) -> tuple[Rule | None, str]:
    """The rule that the last telling line fits, with that line; what only says that it ended gives way to a reason."""
    weak: tuple[Rule | None, str] = (None, "")
    for line in reversed(lines[-LAST_LINES:]):
        text = line.strip()[:600]
        rule = next((rule for rule in RULES if rule.alone and rule.pattern.search(text)), None)
        if rule is not None and rule.kind not in WEAK_KINDS:
            return rule, text
        if rule is not None and weak[0] is None:
            weak = rule, text
    return weak


def _last_words(lines: Sequence[str]) -> list[str]:
    """The last lines that say anything."""
    said = [line.strip()[:300] for line in lines[-LAST_LINES:] if line.strip()]
    return said[-3:]
