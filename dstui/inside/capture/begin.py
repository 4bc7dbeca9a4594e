"""The start of the hook in one process: it says hello and watches which modules are imported.

Loaded at every start of Python, so it takes nothing but `os` and `sys`; what a match needs is loaded by the match.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

WATCHED = {
    "argparse": ("params", "parsers", "argparse_"),
    "click.core": ("params", "parsers", "click"),
    "typer._click.core": ("params", "parsers", "click"),
    "absl.flags._flagvalues": ("params", "parsers", "absl"),
    "tyro._cli": ("params", "parsers", "tyro"),
    "jsonargparse._core": ("params", "parsers", "jsonargparse"),
    "transformers.hf_argparser": ("params", "parsers", "hugging_face"),
    "hydra.main": ("params", "parsers", "hydra"),
    "torch.utils.tensorboard.writer": ("tensorboard", "loggers", "tensorboard"),
    "tensorboardX.writer": ("tensorboard", "loggers", "tensorboard"),
    "mlflow.tracking.client": ("mlflow", "loggers", "mlflow"),
    "wandb": ("wandb", "wandb", "wandb"),
    "random": ("seeds", "seen", "random"),
    "numpy.random": ("seeds", "seen", "numpy"),
    "torch": ("seeds", "seen", "torch"),
}
"""Module to: the switch that turns it off, our module, its function that patches."""

LAUNCHERS = frozenset(
    "torchrun accelerate accelerate-launch deepspeed horovodrun jupyter jupyter-lab jupyter-notebook ipython "
    "torch.distributed.run torch.distributed.launch accelerate.commands.launch ipykernel_launcher debugpy pdb "
    "ds dstui pip pytest".split()
)
"""Programs that start the training or run it inside themselves: what they parse are settings of their own."""

CAPTURE = "DSTUI_CAPTURE"
"""Which switches are on, by commas; `wandb=both` and `wandb=replace` say how."""

TOP = "DSTUI_TOP"
"""`<run>:<pid>` of the first Python between the command and this process."""


class Session:
    """One process of a run, as the hook knows it.

    Attributes:
        live: the live folder of the run.
        switches: what is on, with its value.
        is_top: no other Python stands between the command and this process.
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
        top = f"{os.path.basename(live)}:{os.getpid()}"
        said = os.environ.get(TOP, "")
        self.is_top = said == top or said.partition(":")[0] != os.path.basename(live)
        if self.is_top and not self.is_launcher:
            os.environ[TOP] = top

    def has_params(self) -> bool:
        """Whether settings of this process are those of the run: spawned workers import the main module again."""
        if self.is_launcher:
            return False
        for variable in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
            rank = os.environ.get(variable, "")
            if rank:
                return rank == "0"
        return os.environ.get(TOP) == f"{os.path.basename(self.live)}:{os.getpid()}"

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


session: Session | None = None
"""That of this process, once it has begun."""


def begin(root: str, live: str) -> None:
    """Say hello and watch imports; `root` is the folder of the copy."""
    global session
    session = Session(live)
    fallback = os.path.join(root, "fallback")
    if root and fallback not in sys.path:
        sys.path.append(fallback)
    rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ.get("OMPI_COMM_WORLD_RANK") or ""
    words = ", ".join(quote(word[:200]) for word in session.argv[:20])
    version = ".".join(map(str, sys.version_info[:3]))
    top = "true" if session.is_top else "false"
    session.tell(
        f'{{"pid": {os.getpid()}, "ppid": {os.getppid()}, "top": {top}, "rank": {quote(rank[:20])}, '
        f'"python": "{version}", "argv": [{words}]}}'
    )
    sys.meta_path.insert(0, Finder(session))
    if "opens" in session.switches and session.is_top and not session.is_launcher:
        from . import seen

        seen.opens(session)
    for name in WATCHED:
        if name in sys.modules:
            apply(session, name, sys.modules[name])


class Finder:
    """First of `sys.meta_path`: lets the others find a watched module, and patches it once it has run."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._left = {name for name, (switch, _, _) in WATCHED.items() if switch in session.switches}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The spec of a watched module, found by the finders after this one; None for all others."""
        if name not in self._left:
            return None
        self._left.discard(name)
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            return None
        loader: Any = spec.loader
        try:
            original = loader.exec_module
            loader.exec_module = lambda module: self._run(name, loader, original, module)
        except Exception:
            pass
        return spec

    def _run(self, name: str, loader: Any, original: Any, module: ModuleType) -> None:
        try:
            del loader.exec_module
            before(self._session, name)
        except Exception as error:
            complain(self._session, name, error)
        original(module)
        apply(self._session, name, module)


def before(session: Session, name: str) -> None:
    """What must stand before a module runs."""
    if name == "wandb":
        from . import wandb

        wandb.before(session)


def apply(session: Session, name: str, module: ModuleType) -> None:
    """Patch a module that has just run."""
    switch, where, function = WATCHED[name]
    if switch not in session.switches:
        return
    try:
        patches = __import__(f"{__package__}.{where}", fromlist=[function])
        getattr(patches, function)(module)
    except Exception as error:
        complain(session, name, error)


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
