"""`import dstui` in a run whose environment does not have it: the client alone."""

from _dstui.client import (
    Run,
    checkpoint_dir,
    config,
    finish,
    init,
    log,
    log_artifact,
    log_histogram,
    log_image,
    log_table,
    log_text,
    should_stop,
)

__all__ = [
    "Run",
    "checkpoint_dir",
    "config",
    "finish",
    "init",
    "log",
    "log_artifact",
    "log_histogram",
    "log_image",
    "log_table",
    "log_text",
    "should_stop",
]
