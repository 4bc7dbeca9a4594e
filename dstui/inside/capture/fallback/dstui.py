"""`import dstui` in a run whose environment does not have it: the client alone."""

from _dstui.client import Run, config, finish, init, log

__all__ = ["Run", "config", "finish", "init", "log"]
