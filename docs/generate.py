"""Writes `docs/cli.md` and `docs/keys.md` from the program itself; a test compares them, so that they stay true."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

FOLDER = Path(__file__).parent

CLI_HEAD = """# Command line
<!-- Made by `make docs` from the program. Edit the help texts there. -->
`ds` and `dstui` are one program. Its own options stand before COMMAND; all that follows COMMAND goes to it untouched.
Data goes to stdout, words to stderr.

| exit code | meaning |
|---|---|
| 0 | fine |
| 1 | the run or the request failed |
| 2 | usage or configuration |
| 3 | store, or no such run |
| 4 | device or launch |
| 70 | a bug of dstui |
| 130 | interrupted |

`ds run` ends with the code of its command, or with 125 (dstui failed before the start), 126 (not executable) or
127 (not found).
"""

KEYS_HEAD = """# Keys
<!-- Made by `make docs` from the program. Edit the actions there. -->
The keys of the dashboard. A key has one meaning everywhere; inside the dashboard, `?` shows those of the present pane.
"""

VALUE_NAMES = {"int": "N", "int range": "N", "float": "NUMBER", "float range": "NUMBER", "path": "PATH"}
"""What stands for the value of an option that names none itself, by type; others are text."""


def command_reference() -> str:
    """The text of `docs/cli.md`: every command with its arguments and options."""
    parts = [CLI_HEAD]
    for name, command in commands():
        parts.append(f"## {name}\n{paragraphs(command.help or '')}\n")
        parts.append(f"```text\n{usage(name, command)}\n```\n")
        rows = [row for parameter in command.params if (row := parameter_row(parameter))]
        if rows:
            parts.append("| option or argument | meaning |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def key_reference() -> str:
    """The text of `docs/keys.md`: every key of the dashboard, by place."""
    from dstui.tui.actions import reference

    return f"{KEYS_HEAD}\n{reference()}"


def options_by_command() -> dict[str, set[str]]:
    """The option names of each command: `{"": {"--version", ..}, "run": {"-n", ..}}`."""
    found = {}
    for name, command in commands():
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        found[name.removeprefix("ds").strip()] = {option for option in options if option.startswith("-")} | {
            "-h",
            "--help",
        }
    return found


def commands() -> Iterator[tuple[str, Any]]:
    """(name, command) of `ds` itself and of each command that is not hidden, in the order of `ds --help`."""
    # Modules register their commands when they are loaded; any that this list does not know come last.
    from dstui import cli
    from dstui.cli.app import app

    in_order = ["launching", "looking", "acting", "caring"]
    for name in [*in_order, *(module.name for module in pkgutil.iter_modules(cli.__path__))]:
        importlib.import_module(f"dstui.cli.{name}")

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield name, command
        for child_name, child in getattr(command, "commands", {}).items():
            if not child.hidden:
                yield from walk(f"{name} {child_name}", child)

    return walk("ds", typer.main.get_command(app))


def usage(name: str, command: Any) -> str:
    """One line that shows how a command is typed."""
    words = [name]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    if options:
        words.append("[OPTIONS]")
    if hasattr(command, "commands"):
        words.append("[COMMAND ..]")
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    words.extend(argument_name(parameter) for parameter in arguments)
    return " ".join(words)


def argument_name(parameter: Any) -> str:
    """How an argument is shown: `RUN`, `[KEY]` when it may be left out, `[QUERY]..` when there may be several."""
    name = str(parameter.metavar or parameter.name.upper()).replace("...", "..")
    if not parameter.required and not name.startswith("["):
        name = f"[{name}]"
    return f"{name}.." if parameter.nargs == -1 and ".." not in name else name


def parameter_row(parameter: Any) -> str:
    """The table row of one option or argument; empty for a hidden one."""
    if getattr(parameter, "hidden", False):
        return ""
    if parameter.param_type_name == "argument":
        shown = argument_name(parameter)
    else:
        shown = ", ".join([*parameter.opts, *parameter.secondary_opts])
        if not parameter.is_flag and not getattr(parameter, "count", False):
            shown += f" {parameter.metavar or VALUE_NAMES.get(parameter.type.name, 'TEXT')}"
        if parameter.multiple:
            shown += " .."
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    return f"| `{shown}` | {text} |"


def paragraphs(text: str) -> str:
    """A help text with each paragraph on one line; what stands after a form feed is not for readers."""
    blocks = text.partition("\f")[0].strip().split("\n\n")
    return "\n\n".join(" ".join(block.replace("\b", "").split()) for block in blocks)


def main() -> None:
    """Write both files."""
    (FOLDER / "cli.md").write_text(command_reference())
    (FOLDER / "keys.md").write_text(key_reference())


if __name__ == "__main__":
    main()
