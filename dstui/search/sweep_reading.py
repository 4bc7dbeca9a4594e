"""Sweep files from disk: `sweep.toml`, and the `sweep.yaml` of Weights & Biases."""

from __future__ import annotations

import tomllib
from pathlib import Path

from dstui.errors import ConfigError, UsageError
from dstui.search.sweep_file import SweepFile, sweep_of
from dstui.search.wandb_file import sweep_of_wandb
from dstui.search.yaml_subset import read_yaml

MAX_BYTES = 1 << 20


def read_sweep_file(path: Path) -> SweepFile:
    """The sweep that a file asks for: TOML, or the YAML of wandb where its name ends so.

    Raises:
        ConfigError: it cannot be read, or a key or value in it is wrong.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"Cannot read `{path}`: {error.strerror}", hint="give the path of a sweep.toml") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"`{path}` is larger than {MAX_BYTES} bytes", hint="a sweep file holds a space, not data")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"`{path}` is not UTF-8 text (byte {error.start})", hint="save it as UTF-8") from error
    try:
        if path.suffix in (".yaml", ".yml"):
            return sweep_of_wandb(read_yaml(text))
        return sweep_of(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"`{path}` is no TOML: {error}", hint="see the example in docs/sweeps.md") from error
    except UsageError as error:
        raise ConfigError(f"`{path}`: {error.message}", hint=error.hint) from error
