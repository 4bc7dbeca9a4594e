"""Settings: built-in, then the user's file, then the project's `dstui.toml`, then the environment; later wins.

An unknown key is an error that names the nearest known one: a misspelt setting never silently does nothing.
The environment's name of `run.log_max` is `DSTUI_RUN_LOG_MAX`.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dstui.errors import ConfigError, UsageError
from dstui.units import parse_bytes, parse_duration

PROJECT_FILE = "dstui.toml"

Value = str | int | float | bool | tuple[str, ...]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise UsageError("it must be a text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    """A list of texts; in the environment they are apart by `:`."""
    if isinstance(value, str):
        return tuple(part for part in value.split(os.pathsep) if part)
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise UsageError("it must be a list of texts")
    return tuple(value)


def _choice(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in choices:
            raise UsageError(f"it must be one of {', '.join(choices)}")
        return str(value)

    return parse


def _size(value: object) -> int:
    size = value if isinstance(value, int) and not isinstance(value, bool) else parse_bytes(_text(value))
    if size < 1 << 20:
        raise UsageError("it must be at least 1 MiB")
    return size


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return parse_duration(_text(value))


def _slots(value: object) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 4096:
        raise UsageError("it must be a whole number from 0 to 4096")
    return value


def _tables(value: object) -> str:
    """Tables as JSON; what they mean is for who reads them."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise UsageError("it must be a table, or JSON in the environment") from error
    if not isinstance(value, dict):
        raise UsageError("it must be a table")
    return json.dumps(value, sort_keys=True)


@dataclass(frozen=True)
class Setting:
    """One thing that can be set.

    Attributes:
        parse: the value in its own type; a wrong one raises `UsageError` with the reason.
        example: how it is written in TOML.
    """

    key: str
    default: Value
    parse: Callable[[object], Value]
    help: str
    example: str


SETTINGS = {
    setting.key: setting
    for setting in (
        Setting(
            "run.experiment", "", _text, "experiment of runs that name none; empty = none", 'experiment = "baseline"'
        ),
        Setting("run.log_max", 1 << 30, _size, "output kept whole up to this size, then its ends", 'log_max = "1G"'),
        Setting(
            "run.on_hangup",
            "detach",
            _choice("detach", "stop"),
            "when the terminal is lost: the run goes on, or is stopped",
            'on_hangup = "stop"',
        ),
        Setting(
            "run.grace", 30.0, _seconds, "time between a stop request and the kill that follows it", 'grace = "30s"'
        ),
        Setting(
            "capture.system",
            "auto",
            _choice("auto", "off"),
            "load of the run's processes, of its GPUs and of the machine, each second",
            'system = "off"',
        ),
        Setting(
            "data.paths",
            (),
            _texts,
            "files and folders that every run reads, as if given by `--data`",
            'paths = ["data/train.csv"]',
        ),
        Setting(
            "data.hash_max",
            256 << 20,
            _size,
            "other files that a script opens are hashed up to this size",
            'hash_max = "256M"',
        ),
        *(
            Setting(f"capture.{name}", "auto", _choice("auto", "off"), text, f'{name} = "off"')
            for name, text in (
                ("hook", "look into the command's Python processes; off turns off the next five, and wandb"),
                ("params", "settings of argparse and its kin, of Hydra"),
                ("seeds", "seeds of random, NumPy and PyTorch"),
                ("opens", "names of the files that the script reads"),
                ("tensorboard", "what the script logs to TensorBoard"),
                ("mlflow", "what it logs to MLflow"),
                ("files", "metrics in event files, CSV and JSON lines that it writes"),
                ("stdout", "numbers printed as key=value"),
            )
        ),
        Setting(
            "capture.wandb",
            "replace",
            _choice("replace", "both", "off"),
            "what the script logs to wandb: recorded here and not sent, both, or not looked at",
            'wandb = "both"',
        ),
        Setting(
            "scheduler.cpu_slots",
            0,
            _slots,
            "jobs of one CPU that run at once; 0 = one on a machine without a GPU, else a slot for each core",
            "cpu_slots = 4",
        ),
        Setting("scheduler.hours", "", _text, "jobs start only in this time of day", 'hours = "20:00-08:00"'),
        Setting(
            "scheduler.tiers",
            "{}",
            _tables,
            "what the priorities high, normal and low give: gpus, max_gpus, quota, borrow, preemptible",
            "tiers.high = { gpus = 4 }",
        ),
        Setting(
            "scheduler.accounts",
            "{}",
            _tables,
            "accounts with a weight and with tiers of their own",
            "accounts.vision = { weight = 2 }",
        ),
    )
}


@dataclass(frozen=True)
class Origin:
    """A setting's value and where it came from, e.g. `built in` or a path."""

    value: Value
    source: str


class Settings:
    """All settings of a project; made by `load`."""

    def __init__(self, origins: Mapping[str, Origin]) -> None:
        self._origins = dict(origins)

    def __getitem__(self, key: str) -> Any:
        return self.origin(key).value

    def origin(self, key: str) -> Origin:
        """The value of a key with its source.

        Raises:
            ConfigError: no such key; the nearest one is named.
        """
        if key not in self._origins:
            raise _unknown(key, "the command line")
        return self._origins[key]

    def items(self) -> Iterator[tuple[Setting, Origin]]:
        """Every setting with its value, by key."""
        for key in sorted(SETTINGS):
            yield SETTINGS[key], self._origins[key]


def user_file(environment: Mapping[str, str] | None = None) -> Path:
    """The user's own configuration file, which need not exist."""
    base = (os.environ if environment is None else environment).get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "dstui" / "config.toml"


def load(project: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of a project folder.

    Raises:
        ConfigError: a file is no TOML, a key is unknown, or a value is out of its range.
    """
    environment = os.environ if environment is None else environment
    origins = {key: Origin(setting.default, "built in") for key, setting in SETTINGS.items()}
    for path in (user_file(environment), project / PROJECT_FILE):
        for key, value in _read(path):
            origins[key] = Origin(_parse(key, value, str(path)), str(path))
    for key in SETTINGS:
        name = environment_name(key)
        if name in environment:
            origins[key] = Origin(_parse(key, environment[name], name), name)
    return Settings(origins)


def environment_name(key: str) -> str:
    """The environment variable that sets a key."""
    return "DSTUI_" + key.upper().replace(".", "_")


def _read(path: Path) -> Iterator[tuple[str, object]]:
    import tomllib

    try:
        with path.open("rb") as source:
            data = tomllib.load(source)
    except FileNotFoundError:
        return
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"`{path}` cannot be read: {error}", hint="it must be a TOML file") from error
    for section, content in data.items():
        if not isinstance(content, dict):
            raise _unknown(section, str(path))
        for name, value in content.items():
            yield f"{section}.{name}", value


def _parse(key: str, value: object, source: str) -> Value:
    setting = SETTINGS.get(key)
    if setting is None:
        raise _unknown(key, source)
    try:
        return setting.parse(value)
    except UsageError as error:
        raise ConfigError(
            f"`{key}` in {source} is {value!r}: {error.message}", hint=f"for example `{setting.example}`"
        ) from error


def _unknown(key: str, source: str) -> ConfigError:
    near = difflib.get_close_matches(key, SETTINGS, n=1)
    hint = f"nearest: `{near[0]}`" if near else f"known: {', '.join(sorted(SETTINGS))}"
    return ConfigError(f"There is no setting `{key}` (in {source})", hint=hint)
