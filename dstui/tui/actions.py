"""The one registry of what keys do: the footer, `?`, the palette and `docs/keys.md` are made from it.

A key has one meaning everywhere; `where` only says in which panes it can be used. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dstui.errors import ConfigError

EVERYWHERE = "everywhere"
"""The place every pane belongs to."""

PLACES: Mapping[str, str] = {
    "table": "Tables of runs",
    "runs": "The page Runs",
    "charts": "Charts",
    "log": "Output of a run",
    "code": "Code of a run",
    "run": "The page of one run",
    "list": "Lists and texts",
    EVERYWHERE: "Everywhere",
}
"""Names of the places that actions speak of, and how people are told of them."""

KEY_NAMES: Mapping[str, str] = {
    "escape": "esc",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "shift+tab": "shift+tab",
    " ": "space",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
}
"""How keys are written where their own name says less."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a key does.

    Attributes:
        name: for `[keys]` in `dstui.toml` and for the method `do_NAME` that does it.
        keys: what is typed, the first one is shown; none = offered by the palette only.
        label: one or two words for the footer.
        help: one sentence for `?` and the palette.
        where: places in which it can be used.
        footer: its place in the footer, 0 = not there.
        changes: whether it changes runs; absent with `--readonly`.
        twin: the `ds` command that does the same, for those that change something.
    """

    name: str
    keys: tuple[str, ...]
    label: str
    help: str
    where: tuple[str, ...] = (EVERYWHERE,)
    footer: int = 0
    changes: bool = False
    twin: str = ""

    @property
    def shown(self) -> str:
        """Its first key as people write it."""
        return key_text(self.keys[0]) if self.keys else ""


ACTIONS: tuple[Action, ...] = (
    # Where to go
    Action(
        "enter",
        ("enter",),
        "open",
        "Open the run under the cursor, or what a line of output hides",
        ("table", "log"),
        10,
    ),
    Action("back", ("escape",), "back", "Go back: clear the filter, then the marks, then leave the page"),
    Action("overview", ("1",), "overview", "Go to the page Overview"),
    Action("runs", ("2",), "runs", "Go to the page Runs"),
    Action("next_pane", ("tab",), "pane", "Go to the next pane of the page"),
    Action("previous_pane", ("shift+tab",), "pane back", "Go to the pane before"),
    Action("next_tab", (">", "]"), "tab", "Go to the next tab of the page", ("run",), 20),
    Action("previous_tab", ("<", "["), "tab back", "Go to the tab before", ("run",)),
    # Moving
    Action("down", ("j", "down"), "down", "Move down a line", ("list",)),
    Action("up", ("k", "up"), "up", "Move up a line", ("list",)),
    Action(
        "left",
        ("h", "left"),
        "left",
        "Move left: columns of a table, steps of a chart, long lines",
        ("runs", "charts", "log"),
    ),
    Action("right", ("l", "right"), "right", "Move right", ("runs", "charts", "log")),
    Action("first", ("g", "home"), "first", "Go to the first line, or the first step of a chart", ("list", "charts")),
    Action("last", ("G", "end"), "last", "Go to the last line, or the last step of a chart", ("list", "charts")),
    Action("page_down", ("ctrl+d", "pagedown"), "page down", "Move down by a page", ("list",)),
    Action("page_up", ("ctrl+u", "pageup"), "page up", "Move up by a page", ("list",)),
    # Finding
    Action(
        "find",
        ("/",),
        "find",
        "Filter the runs as you type, or search the output (`~` first: a pattern)",
        ("runs", "log"),
        30,
    ),
    Action("next_match", ("n",), "next", "Go to the next match, or the next file of a diff", ("log", "code"), 40),
    Action("previous_match", ("N",), "previous", "Go to the match before", ("log", "code")),
    Action(
        "sort",
        ("s",),
        "sort",
        "Sort: the key, then the letter of a column; the same one again turns it round",
        ("runs",),
        40,
    ),
    Action("add_sort", ("S",), "sort by more", "Sort equal ones by one more column", ("runs",)),
    # Marks and views of the table
    Action("mark", (" ",), "mark", "Mark the run, or take the mark away", ("table",), 50),
    Action("mark_range", ("v",), "range", "Mark all runs from here to the last one marked", ("table",)),
    Action("mark_all", ("A",), "all", "Mark all shown runs, or none when all are", ("runs",)),
    Action(
        "pin",
        ("*",),
        "pin",
        "Make the run the baseline that others are compared with, or unpin it",
        ("table", "run"),
        60,
    ),
    Action("preview", ("p",), "preview", "Show or hide the preview", ("runs",), 70),
    Action("differing", ("d",), "differing", "Show only columns or params that differ, or all", ("runs", "run")),
    # Charts
    Action("next_metric", ("m",), "metric", "Choose the next chart", ("run", "runs"), 30),
    Action("previous_metric", ("M",), "metric back", "Choose the chart before", ("run", "runs")),
    Action("log_axis", ("L",), "log y", "Make the y axis logarithmic, or linear again", ("charts",), 50),
    Action("smooth", ("o",), "smooth", "Smooth the lines more: off, 0.6, 0.9, 0.99", ("charts",), 60),
    Action("band", ("b",), "band", "Show or hide the band between least and greatest value", ("charts",)),
    Action("axis", ("a",), "axis", "Draw over steps, or over time", ("charts",), 70),
    Action("zoom_in", ("+", "="), "zoom in", "Zoom in on the cursor, or the end", ("charts",), 80),
    Action("zoom_out", ("-",), "zoom out", "Zoom out", ("charts",)),
    Action("zoom_whole", ("0",), "whole", "Show the whole curve again", ("charts",)),
    Action("full_range", (), "full range", "Show all of the y range, outliers too", ("charts",)),
    Action("full", ("F",), "full", "Give the pane, or the chosen chart, the whole page; again: back", ("run",), 90),
    Action("follow", ("f",), "follow", "Follow the end of the output, or stop following", ("log",), 50),
    # Acting
    Action(
        "stop", ("x",), "stop", "Stop the run, or the marked ones; asks first", ("table", "run"), 80, True, "ds stop"
    ),
    Action(
        "tags",
        ("t",),
        "tags",
        "Change the tags of the run, or of the marked ones",
        ("table", "run"),
        90,
        True,
        "ds tag",
    ),
    Action("note", ("i",), "note", "Write the note of the run", ("table", "run"), 100, True, "ds note"),
    Action("copy_id", ("y",), "copy id", "Copy the id of the run, or of the marked ones", ("table", "run"), 110),
    Action(
        "copy_command",
        ("Y",),
        "copy command",
        "Copy the `ds` command that does the same as this page",
        ("table", "run"),
    ),
    # The program
    Action("commands", (":", "ctrl+p"), "commands", "Choose a command by typing some of its letters", footer=190),
    Action("help", ("?",), "help", "Show the keys of this pane", footer=200),
    Action("quit", ("q",), "quit", "Leave; running runs go on"),
)
"""Every action."""

BY_NAME: Mapping[str, Action] = {action.name: action for action in ACTIONS}


def key_text(key: str) -> str:
    """How people write a key."""
    return KEY_NAMES.get(key, key)


def available(places: Collection[str], *, read_only: bool, actions: Iterable[Action] = ACTIONS) -> list[Action]:
    """Actions that can be used in these places, in the order of the registry."""
    wanted = {*places, EVERYWHERE}
    return [action for action in actions if wanted & set(action.where) and not (read_only and action.changes)]


def find(key: str, places: Collection[str], *, read_only: bool, actions: Iterable[Action] = ACTIONS) -> Action | None:
    """What a key does in these places."""
    return next(
        (action for action in available(places, read_only=read_only, actions=actions) if key in action.keys), None
    )


def footer(places: Collection[str], count: int, *, read_only: bool) -> list[Action]:
    """At most `count` actions for the last row; those that are only about the program come last and always."""
    ranked = sorted((action for action in available(places, read_only=read_only) if action.footer), key=_footer_rank)
    fixed = [action for action in ranked if action.where == (EVERYWHERE,)]
    return [*[action for action in ranked if action not in fixed][: max(0, count - len(fixed))], *fixed]


def with_keys(changes: Mapping[str, str]) -> tuple[Action, ...]:
    """The registry with a person's own keys, action name to key.

    Raises:
        ConfigError: no such action, or one key would have two meanings.
    """
    for name in changes:
        if name not in BY_NAME:
            raise ConfigError(f"No action is called `{name}`", hint="`docs/keys.md` lists the actions")
    actions = tuple(_with_key(action, changes[action.name]) if action.name in changes else action for action in ACTIONS)
    clash = clashes(actions)
    if clash:
        key, names = clash[0]
        raise ConfigError(
            f"The key `{key_text(key)}` is given to {' and '.join(f'`{name}`' for name in names)}",
            hint="a key has one meaning everywhere: give one of them another key in `[keys]`",
        )
    return actions


def clashes(actions: Iterable[Action]) -> list[tuple[str, list[str]]]:
    """Keys with more than one action, and those actions' names."""
    owners: dict[str, list[str]] = {}
    for action in actions:
        for key in action.keys:
            owners.setdefault(key, []).append(action.name)
    return [(key, names) for key, names in owners.items() if len(names) > 1]


def matching(typed: str, actions: Sequence[Action]) -> list[Action]:
    """Actions for what was typed into the palette, best first: all letters must come in order."""
    scored = [(score, index) for index, action in enumerate(actions) if (score := _score(typed, action)) is not None]
    return [actions[index] for _, index in sorted(scored)]


def reference() -> str:
    """The tables of `docs/keys.md`, one for each place."""
    parts = []
    for place, title in PLACES.items():
        rows = [action for action in ACTIONS if action.where[0] == place and action.keys]
        if rows:
            lines = [f"| {_keys_text(action)} | {action.help} | `{action.name}` |" for action in rows]
            parts.append(f"## {title}\n| key | what it does | action |\n|---|---|---|\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _with_key(action: Action, key: str) -> Action:
    from dataclasses import replace

    return replace(action, keys=(key,))


def _footer_rank(action: Action) -> int:
    return action.footer


def _keys_text(action: Action) -> str:
    return " ".join(f"`{key_text(key)}`" for key in action.keys).replace("|", "\\|")


def _score(typed: str, action: Action) -> tuple[int, int] | None:
    """How badly an action fits what was typed, None when it does not.

    A part of its label, name or help is best; else its label and name must have all letters in order, the closer the
    better.
    """
    wanted = typed.lower()
    name = f"{action.label} {action.name}".lower()
    place = f"{name} {action.help}".lower().find(wanted)
    if place >= 0:
        return (0, place)
    position, gaps = -1, 0
    for letter in wanted:
        found = name.find(letter, position + 1)
        if found < 0:
            return None
        gaps += found - position - 1 if position >= 0 else 0
        position = found
    return (1 + gaps, position)
