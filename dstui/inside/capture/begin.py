"""The start of the hook in one process: it says hello and watches which modules are imported.

Loaded at every start of Python, so it takes only what Python itself holds; what a match needs is loaded by the match.
"""

from __future__ import annotations

import atexit
import os
import sys
from time import time

from . import session as sessions
from .session import complain, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from .session import Session

WATCHED = {
    "argparse": ("params", "parsers", "argparse_"),
    "click.core": ("params", "parsers", "click"),
    "typer._click.core": ("params", "parsers", "click"),
    "absl.flags._flagvalues": ("params", "parsers", "absl"),
    "tyro._cli": ("params", "parsers", "tyro"),
    "jsonargparse._core": ("params", "parsers", "jsonargparse"),
    "transformers.hf_argparser": ("params", "parsers", "hugging_face"),
    "transformers.trainer": ("params", "parsers", "trainer"),
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


def begin(root: str, live: str) -> None:
    """Say hello and watch imports; `root` is the folder of the copy."""
    session = sessions.start(live)
    fallback = os.path.join(root, "fallback")
    if root and fallback not in sys.path:
        sys.path.append(fallback)
    _hello(session)
    if session.is_top and not session.is_launcher:
        atexit.register(_say_end, session, os.getpid())
    sys.meta_path.insert(0, Finder(session))
    if "opens" in session.switches and session.is_top and not session.is_launcher:
        from . import seen

        seen.opens(session)
    for name in WATCHED:
        if name in sys.modules:
            apply(session, name, sys.modules[name])


def begin_again(live: str) -> None:
    """Begin in a process that runs already, such as a notebook's, or go on with its next run."""
    session = sessions.current
    if session is None:
        begin("", live)
        session = sessions.current
    else:
        from . import recorder

        session.live = live
        recorder.start_over()
        _hello(session)
    if session is not None:
        # Whatever program this is, it has asked for a run.
        session.is_launcher = False


def _hello(session: Session) -> None:
    rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ.get("OMPI_COMM_WORLD_RANK") or ""
    words = ", ".join(quote(word[:200]) for word in session.argv[:20])
    version = ".".join(map(str, sys.version_info[:3]))
    session.tell(
        f'{{"pid": {os.getpid()}, "ppid": {os.getppid()}, "top": {session.top}, "time": {time()!r}, '
        f'"rank": {quote(rank[:20])}, "python": "{version}", "argv": [{words}]}}'
    )


def _say_end(session: Session, pid: int) -> None:
    """How this process ended, as far as it knows: an exception that nobody caught, or not."""
    if os.getpid() == pid:
        state = "failed" if hasattr(sys, "last_type") else "finished"
        session.tell(f'{{"pid": {pid}, "end": {{"time": {time()!r}, "state": "{state}"}}}}')


class Finder:
    """First of `sys.meta_path`: lets the others find a watched module, and patches it once it has run."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._left = {name for name, (switch, _, _) in WATCHED.items() if switch in session.switches}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The spec of a watched module, found by the finders after this one; None for all others."""
        if name not in self._left:
            return None
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
        # Not before: libraries look for others by their spec alone, to know whether they are there.
        self._left.discard(name)
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
        from importlib import import_module

        getattr(import_module(f"{__package__}.{where}"), function)(module)
    except Exception as error:
        complain(session, name, error)
