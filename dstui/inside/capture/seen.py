"""Seeds, the state of PyTorch, and the files that a script reads."""

from __future__ import annotations

import os
import sys

# Loaded at every start of Python, so without `typing`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from .session import Session

PATH_LIMIT = 4_096
"""Files named by one process."""

DEFAULT_TORCH_SEED = 67_280_421_310_721
"""PyTorch's own, where no seed was set."""

_seeds: dict[str, int] = {}


def random(module: ModuleType) -> None:
    """`random.seed`."""
    from .wrap import after

    after(module, "seed", lambda _, a=None, *__, **___: _seed("random", a))


def numpy(module: ModuleType) -> None:
    """`numpy.random.seed` and `default_rng`."""
    from .wrap import after

    after(module, "seed", lambda _, seed=None, *__, **___: _seed("numpy", seed))
    after(module, "default_rng", lambda _, seed=None, *__, **___: _seed("numpy", seed))


def torch(module: ModuleType) -> None:
    """Nothing in PyTorch is patched (`torch.compile` knows functions by identity): it is asked at the end."""
    import atexit

    from . import session

    if session.current is not None and session.current.has_params():
        atexit.register(_torch_at_exit, module, os.getpid())


def _seed(generator: str, value: Any) -> None:
    from . import recorder, session

    if generator in _seeds or type(value) is bool or not hasattr(value, "__index__"):
        return
    _seeds[generator] = int(value.__index__())
    if session.current is not None and session.current.has_params():
        recorder.fact(seeds={generator: _seeds[generator]})


def _torch_at_exit(torch: Any, pid: int) -> None:
    if os.getpid() != pid:
        return
    try:
        from . import recorder
        from .wrap import failed
    except ImportError:
        return  # The copy of the hook has gone.
    try:
        seed = int(torch.initial_seed())
        state: dict[str, Any] = {
            "version": str(torch.__version__),
            "cuda": torch.version.cuda,
            "threads": torch.get_num_threads(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
        }
        if torch.cuda.is_initialized():
            devices = range(torch.cuda.device_count())
            state["devices"] = [torch.cuda.get_device_name(device) for device in devices]
            state["peak_memory_bytes"] = [torch.cuda.max_memory_allocated(device) for device in devices]
            state["tf32"] = torch.backends.cuda.matmul.allow_tf32
        recorder.fact(torch=state, **({} if seed == DEFAULT_TORCH_SEED else {"seeds": {"torch": seed}}))
    except Exception as error:
        failed("torch at exit", error)


def opens(session: Session) -> None:
    """Put a callable object in the place of `open`: a function would turn into a method as a class attribute."""
    import builtins
    import io

    # The name belongs to the built-in one; what is compared by identity is compared with this.
    recording = Open(builtins.open, session)
    builtins.open = recording
    io.open = recording


class Open:
    """`open`, which notes the first reading of each path."""

    __module__ = "io"

    def __init__(self, original: Any, session: Session) -> None:
        self._original = original
        self._session = session
        self._seen: set[str] = set()
        own = (os.path.realpath(path) + os.sep for path in (sys.prefix, sys.base_prefix, session.live))
        self._passed = (*own, os.path.expanduser("~/.config/"), "/proc/", "/sys/", "/dev/", "/etc/", "/usr/")
        self.__name__ = self.__qualname__ = "open"
        self.__doc__ = original.__doc__
        self.__wrapped__ = original
        self.__text_signature__ = getattr(original, "__text_signature__", None)

    def __call__(self, file: Any, mode: Any = "r", *args: Any, **kwargs: Any) -> Any:
        """Open a file as the built-in function does."""
        result = self._original(file, mode, *args, **kwargs)
        try:
            if mode[0] == "r" and type(file) is not int and file not in self._seen:
                self._note(file, mode)
        except Exception:
            pass
        return result

    def __repr__(self) -> str:
        return repr(self._original)

    def __reduce__(self) -> str:
        return "open"

    def _note(self, file: Any, mode: str) -> None:
        if len(self._seen) >= PATH_LIMIT or "+" in mode:
            return
        self._seen.add(file)
        path = os.path.abspath(os.fsdecode(file))
        if path.startswith(self._passed):
            return
        from .session import quote

        self._session.tell(f'{{"path": {quote(path)}}}', "opened.jsonl")
