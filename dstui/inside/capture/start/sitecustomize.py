"""Loaded by `site` at the start of each Python below `ds run`; parses on any Python, and gives way to the next one."""

import os
import sys


def _chain(own):
    """Load the sitecustomize that would have been loaded without this one."""
    ours = sys.modules.pop("sitecustomize", None)
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != own]
    try:
        import sitecustomize  # noqa: F401
    except ImportError:
        if getattr(sys.exc_info()[1], "name", None) != "sitecustomize":
            raise
    finally:
        if ours is not None:
            sys.modules.setdefault("sitecustomize", ours)


def _begin(own):
    """Start the hook; whatever goes wrong there is no business of the script."""
    package = "_dstui"
    root = os.path.dirname(own)
    live = os.environ.get("DSTUI_RUN_DIR")
    if not live or package in sys.modules or not os.path.isdir(live):
        return
    module = type(sys)(package)
    module.__path__ = [os.path.join(root, package)]
    sys.modules[package] = module
    try:
        from _dstui.capture.begin import begin

        begin(root, live)
    except Exception:
        pass


def _tell_old():
    """Say once that this Python is too old for the hook."""
    path = os.path.join(os.environ.get("DSTUI_RUN_DIR") or os.devnull, "hello.jsonl")
    try:
        if not os.path.exists(path):
            with open(path, "a") as file:
                file.write(
                    '{"error": "Python %d.%d is older than 3.9, so it was not seen into"}\n' % sys.version_info[:2]
                )
    except (IOError, OSError):
        pass


_own = os.path.dirname(os.path.abspath(__file__))
if sys.version_info >= (3, 9):
    _begin(_own)
else:
    _tell_old()
_chain(_own)
