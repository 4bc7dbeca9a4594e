"""One process of a run, as the hook knows it, and the lines that it leaves in the live folder.

Loaded at every start of Python, so it takes only what Python itself holds.
"""

from __future__ import annotations

import os
import sys

LAUNCHERS = frozenset(
    "torchrun accelerate accelerate-launch deepspeed horovodrun jupyter jupyter-lab jupyter-notebook ipython "
    "torch.distributed.run torch.distributed.launch accelerate.commands.launch ipykernel_launcher debugpy pdb "
    "ds dstui pip pytest".split()
)
"""Programs that start the training or run it inside themselves: what they parse are settings of their own."""

CAPTURE = "DSTUI_CAPTURE"
"""Which switches are on, by commas; `wandb=both` and `wandb=replace` say how."""

TOP = "DSTUI_TOP"
"""`<run>:<pid>` of the first Python between the command and this process; `:launcher` after it if it is one."""


class Session:
    """One process of a run, as the hook knows it.

    Attributes:
        live: the live folder of the run.
        switches: what is on, with its value.
        is_top: no other Python stands between the command and this process.
        top: process id of the one that is.
        is_launcher: this program only starts the training.
    """

    def __init__(self, live: str) -> None:
        self.live = live
        self.switches: dict[str, str] = {}
        for word in os.environ.get(CAPTURE, "").split(","):
            name, _, value = word.partition("=")
            self.switches[name] = value
        self.argv = _argv()
        self.is_launcher = _is_launcher(self.argv)
        run, own = os.path.basename(live), str(os.getpid())
        said = (os.environ.get(TOP, "") + "::").split(":")
        self.is_top = said[0] != run or said[1] == own
        self.top = int(own if self.is_top else said[1])
        # What a launcher starts has the settings, though it is not the first Python.
        self._is_started = not self.is_top and said[2] == "launcher" and said[1] == str(os.getppid())
        self._pid = int(own)
        if self.is_top:
            os.environ[TOP] = f"{run}:{own}:launcher" if self.is_launcher else f"{run}:{own}"

    def has_params(self) -> bool:
        """Whether settings of this process are those of the run: spawned workers import the main module again."""
        if self.is_launcher:
            return False
        for variable in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
            rank = os.environ.get(variable, "")
            if rank:
                return rank == "0"
        return (self.is_top or self._is_started) and os.getpid() == self._pid

    def tell(self, line: str, name: str = "hello.jsonl") -> None:
        """Append one line of JSON to a file of the live folder; a folder that is gone is no error.

        The file is not kept open: a script that closes every descriptor would give its number to a file of its own.
        """
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(f"{self.live}/{name}", flags, 0o600)
        except OSError:
            return
        try:
            os.write(descriptor, (line + "\n").encode("ascii", "backslashreplace"))
        except OSError:
            pass
        finally:
            os.close(descriptor)


current: Session | None = None
"""That of this process, once it has begun."""


def start(live: str) -> Session:
    """Make the session of this process."""
    global current
    current = Session(live)
    return current


def complain(session: Session, what: str, error: BaseException) -> None:
    """Say where the hook failed."""
    session.tell(f'{{"error": {quote(f"{what}: {type(error).__name__}: {error}"[:300])}}}')


def quote(text: str) -> str:
    """A text as JSON, in ASCII; `json` is not loaded for that."""
    parts = []
    for character in text:
        code = ord(character)
        if character in '"\\' or not 32 <= code < 127:
            if code > 0xFFFF:
                code -= 0x10000
                parts.append(f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}")
            else:
                parts.append(f"\\u{code:04x}")
        else:
            parts.append(character)
    return '"' + "".join(parts) + '"'


def _argv() -> list[str]:
    """The words this process was started with, the interpreter and its options too."""
    words = getattr(sys, "orig_argv", None)
    if words is None:
        try:
            with open("/proc/self/cmdline", "rb") as file:
                words = [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
        except OSError:
            words = []
    return [str(word) for word in words]


def _is_launcher(argv: list[str]) -> bool:
    """Whether the program named by these words, a script or `-m module`, is a launcher."""
    words = iter(argv[1:])
    for word in words:
        if word == "-m":
            return next(words, "") in LAUNCHERS
        if word.startswith("-m") and len(word) > 2:
            return word[2:] in LAUNCHERS
        if word == "-c":
            return False
        if word in ("-W", "-X"):
            next(words, "")
        elif not word.startswith("-"):
            path = os.path.normpath(word)
            return os.path.basename(path) in LAUNCHERS or path.endswith("torch/distributed/run.py")
    return False
