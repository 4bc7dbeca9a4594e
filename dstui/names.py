"""Words that every room uses: the states of a run, how they look, and the variables a script sees."""

from __future__ import annotations

STATE_GLYPHS = {
    "running": "▸",
    "finished": " ",
    "failed": "✗",
    "oom": "✗",
    "timeout": "✗",
    "stopped": "■",
    "killed": "‼",
    "lost": "‼",
    "preempted": "↻",
}
"""One cell before the state's word; never the only sign of it."""

BAD_STATES = frozenset({"failed", "oom", "timeout", "killed", "lost"})
"""Ends that nobody asked for."""

ENVIRONMENT_VARIABLES = {
    "DSTUI_RUN_ID": "the run's id",
    "DSTUI_RUN_DIR": "its live folder",
    "DSTUI_PARAMS_FILE": "a JSON file with its params",
    "DSTUI_CHECKPOINT_DIR": "the folder for checkpoints of a job, the same for all its attempts",
    "DSTUI_RESUME": "the checkpoint that a job goes on from, empty when there is none",
    "DSTUI_PREEMPT_FILE": "a job has to save and leave once this file is there",
    "DSTUI_SEED": "the seed of `ds run --seed`",
    "DSTUI_MACHINE_ID": "overrides how this machine is told from others",
    "DSTUI_WRITER": "overrides the writer's id, for containers",
}
"""What `ds run` sets for a command, or reads."""
