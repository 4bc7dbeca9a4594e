"""Settings of a script, as its own parser has them: every value with its default, and which were typed."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import sys
from collections.abc import Mapping, Sequence
from types import FrameType, FunctionType, ModuleType
from typing import Any, Callable

from . import recorder
from .wrap import Outermost, after, before, failed

OWN_PARSERS = frozenset("hydra absl torch tensorboard mlflow wandb ray IPython traitlets pip setuptools".split())
"""Packages that parse options of their own; a library that a script calls to parse its options is none of these."""

_nesting = Outermost()


def argparse_(module: ModuleType) -> None:
    """`ArgumentParser.parse_args` and its kin; all of them end in these two."""
    for name in ("parse_known_args", "parse_known_intermixed_args"):
        after(module.ArgumentParser, name, _argparse, _nesting)


def _argparse(result: Any, parser: Any, args: Any = None, *_: Any, **__: Any) -> None:
    namespace = result[0]
    words = list(sys.argv[1:] if args is None else args)
    if (args is not None and not words and sys.argv[1:]) or _caller() in OWN_PARSERS:
        return
    recorder.settings("argparse", plain(vars(namespace)), _typed(parser, words))


def _caller() -> str:
    """The package that asked for the arguments: the first one outside argparse and this hook."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in ("argparse", __name__.partition(".")[0]):
            return package
        frame = frame.f_back
    return ""


def _typed(parser: Any, words: Sequence[Any]) -> list[str]:
    """Destinations of the arguments that stand on the command line."""
    options = {str(word).partition("=")[0] for word in words if str(word).startswith("-")}
    typed: list[str] = []
    for action in getattr(parser, "_actions", ()):
        strings = getattr(action, "option_strings", ())
        if not strings:
            # A positional: typed unless it may be left out and was.
            if getattr(action, "nargs", None) not in ("?", "*") or len(words) > len(options):
                typed.append(action.dest)
            for sub in (getattr(action, "choices", None) or {}).values() if _has_parsers(action) else ():
                typed += _typed(sub, words)
        elif any(_stands_for(option, string) for option in options for string in strings):
            typed.append(action.dest)
    return typed


def _has_parsers(action: Any) -> bool:
    return isinstance(getattr(action, "choices", None), Mapping)


def _stands_for(option: str, string: str) -> bool:
    """Whether a typed option is this one: whole, shortened (`--learn`), or with its value glued on (`-j4`)."""
    if option == string:
        return True
    if string.startswith("--"):
        return len(option) > 2 and string.startswith(option)
    return len(string) == 2 and option.startswith(string)


def hugging_face(module: ModuleType) -> None:
    """`HfArgumentParser` reading a dict or a file; its command line is argparse's."""
    for name in ("parse_dict", "parse_json_file", "parse_yaml_file"):
        after(module.HfArgumentParser, name, _hugging_face, _nesting)


def _hugging_face(result: Any, *_: Any, **__: Any) -> None:
    values: dict[str, Any] = {}
    for part in result:
        values.update(plain(part) if isinstance(part, Mapping) else _fields(part))
    recorder.settings("argparse", values)


def trainer(module: ModuleType) -> None:
    """The arguments of a Hugging Face `Trainer`, which often stand in the script."""
    after(module.Trainer, "__init__", _trainer)


def _trainer(_: Any, trainer: Any, *__: Any, **___: Any) -> None:
    arguments = trainer.args
    changed = [
        field.name for field in dataclasses.fields(arguments) if getattr(arguments, field.name, None) != field.default
    ]
    recorder.settings("transformers", plain(arguments.to_dict()), changed)


def jsonargparse(module: ModuleType) -> None:
    """`jsonargparse`, and with it Lightning's CLI."""
    for name in ("parse_args", "parse_object", "parse_path", "parse_string"):
        after(module.ArgumentParser, name, _jsonargparse, _nesting)


def _jsonargparse(result: Any, parser: Any, *_: Any, **__: Any) -> None:
    values = dict(result.as_dict() if hasattr(result, "as_dict") else vars(result))
    for action in parser._actions:
        if type(action).__name__ == "ActionConfigFile":
            # The files that settings were read from are none.
            values.pop(action.dest, None)
    typed = [word[2:].partition("=")[0] for word in sys.argv[1:] if word.startswith("--")]
    recorder.settings("argparse", plain(values), typed)


def click(module: ModuleType) -> None:
    """Commands of click, and of typer which stands on it."""
    after_call = getattr(module.Command, "invoke", None)
    if after_call is None:
        return
    before(module.Command, "invoke", _click)
    if "invoke" in vars(getattr(module, "Group", object)):
        before(module.Group, "invoke", _click)


def _click(command: Any, context: Any) -> None:
    source = getattr(context, "get_parameter_source", None)
    given = [
        name for name in context.params if source is not None and getattr(source(name), "name", "") == "COMMANDLINE"
    ]
    recorder.settings("click", plain(context.params), given)


def absl(module: ModuleType) -> None:
    """The key flags of the main module."""
    after(module.FlagValues, "__call__", _absl)


def _absl(_: Any, flags: Any, argv: Sequence[str], *__: Any, **___: Any) -> None:
    found = flags.get_key_flags_for_module(argv[0] if argv else sys.argv[0]) or flags.get_key_flags_for_module(
        "__main__"
    )
    recorder.settings(
        "absl",
        plain({flag.name: flag.value for flag in found}),
        [flag.name for flag in found if flag.present],
    )


def tyro(module: ModuleType) -> None:
    """`tyro.cli`: what it returns, or what it calls a function with; the argparse inside it stays silent."""
    after(module, "cli", _tyro, _nesting)
    original = module.cli

    @functools.wraps(original)
    def cli(f: Any, *args: Any, **kwargs: Any) -> Any:
        return original(_seen_by(f) if type(f) is FunctionType else f, *args, **kwargs)

    module.cli = cli  # type: ignore[attr-defined]
    package = sys.modules.get(module.__name__.partition(".")[0])
    if package is not None and "cli" in vars(package):
        package.cli = module.cli  # type: ignore[attr-defined]


def _tyro(result: Any, function: Any, *_: Any, **__: Any) -> None:
    typed = _typed_long()
    if dataclasses.is_dataclass(result) or isinstance(result, Mapping):
        recorder.settings("tyro", plain(result) if isinstance(result, Mapping) else _fields(result), typed)


def _seen_by(function: FunctionType) -> Callable[..., Any]:
    """The function that tyro calls with the settings as arguments; it may well be the whole training."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            recorder.settings("tyro", plain(bound.arguments), _typed_long())
        except Exception as error:
            failed("tyro.cli", error)
        depth, _nesting.depth = _nesting.depth, 0
        try:
            return function(*args, **kwargs)
        finally:
            _nesting.depth = depth

    return called


def _typed_long() -> list[str]:
    """The long options on the command line, as names."""
    return [word[2:].partition("=")[0].replace("-", "_") for word in sys.argv[1:] if word.startswith("--")]


def hydra(module: ModuleType) -> None:
    """`hydra.main`: the composed config, at the call of the task."""
    original = module.main

    @functools.wraps(original)
    def main(*args: Any, **kwargs: Any) -> Callable[..., Any]:
        decorator = original(*args, **kwargs)

        @functools.wraps(decorator)
        def decorate(task: Any) -> Any:
            @functools.wraps(task)
            def recorded(config: Any, *rest: Any, **named: Any) -> Any:
                try:
                    _hydra(config)
                except Exception as error:
                    failed("hydra.main", error)
                return task(config, *rest, **named)

            return decorator(recorded)

        return decorate

    module.main = main  # type: ignore[attr-defined]


def _hydra(config: Any) -> None:
    # Loaded, since the script uses Hydra.
    values = sys.modules["omegaconf"].OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    typed = [word.lstrip("+~").partition("=")[0].partition("@")[0] for word in sys.argv[1:] if "=" in word]
    recorder.settings("hydra", plain(values), typed)


def plain(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Settings as plain values: dataclasses and namespaces as dicts, members of an enum by their value."""
    return {str(key): _plain(value) for key, value in values.items()}


def _plain(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, enum.Enum):
        return _plain(value.value, depth + 1) if depth < 8 else str(value)
    if depth < 8:
        if isinstance(value, Mapping):
            return {str(key): _plain(part, depth + 1) for key, part in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_plain(part, depth + 1) for part in value]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {
                field.name: _plain(getattr(value, field.name, None), depth + 1) for field in dataclasses.fields(value)
            }
        if type(value).__name__ == "Namespace":
            return {key: _plain(part, depth + 1) for key, part in vars(value).items()}
    name = getattr(value, "name", None)
    if isinstance(name, str) and hasattr(value, "read"):
        return name  # An opened file.
    return value


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, or of any object with some."""
    found = _plain(value)
    return found if isinstance(found, dict) else plain(vars(value))
