"""What the documents say is so: the references are generated, links lead somewhere, commands and versions exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.generate import command_reference, key_reference, options_by_command

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL_LANGUAGES = {"bash", "console", "sh", "shell"}
OTHER_PROGRAMS = {"apt", "cd", "git", "pip", "pipx", "python", "uv", ".venv/bin/python"}
"""Programs of others that a document may tell people to type."""


def anchors_of(page: Path) -> set[str]:
    """The names that a link into a page may end with, as GitHub makes them from headings."""
    text = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+\s+(.*?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def typed_commands(page: Path) -> Iterator[list[str]]:
    """The words of each command line that a page tells its reader to type."""
    for language, block in FENCE.findall(page.read_text()):
        if language not in SHELL_LANGUAGES:
            continue
        lines = block.replace("\\\n", " ").splitlines()
        # A block with prompts shows output as well; one without is all commands.
        prompted = [line[2:] for line in lines if line.startswith("$ ")]
        for line in prompted or lines:
            for part in re.split(r"&&|\|\||;", line):
                words = shlex.split(part, comments=True)
                if words:
                    yield words


@pytest.mark.slow
def test_the_command_reference_is_what_the_program_says() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == command_reference(), "run `make docs`"


@pytest.mark.slow
def test_the_key_reference_is_what_the_dashboard_does() -> None:
    assert (ROOT / "docs" / "keys.md").read_text() == key_reference(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for match in LINK.finditer(FENCE.sub("", page.read_text())):
        target = match[1] or match[2]
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists() or (anchor and goal.suffix == ".md" and anchor not in anchors_of(goal)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_a_document_can_be_typed(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = options_by_command()
    wrong = []
    for words in typed_commands(page):
        program, arguments = words[0], words[1:]
        if program == "make":
            fine = all(word in targets or "=" in word or word.startswith("-") for word in arguments)
        elif program in {"ds", "dstui"}:
            fine = is_known(arguments, known)
        else:
            fine = program in OTHER_PROGRAMS
        if not fine:
            wrong.append(shlex.join(words))
    assert wrong == []


def is_known(arguments: list[str], known: dict[str, set[str]]) -> bool:
    """Whether a command line names a command that exists and only options that this command has.

    Options are looked at up to the first word that is none: what stands after it may belong to a tracked command.
    """
    name = ""
    for position, word in enumerate(arguments):
        if not word.startswith("-") and f"{name} {word}".strip() in known:
            name = f"{name} {word}".strip()
            continue
        if word.startswith("-"):
            return word.partition("=")[0] in known[name] and is_known_rest(arguments[position + 1 :], known[name])
        return bool(name)
    return name in known


def is_known_rest(words: list[str], options: set[str]) -> bool:
    """The same for the words after the first option, whose values may stand between."""
    after_option = True
    for word in words:
        if word.startswith("-"):
            if word.partition("=")[0] not in options:
                return False
            after_option = True
        elif after_option:
            after_option = False
        else:
            return True
    return True


def test_the_version_is_the_newest_of_the_changelog() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    entries = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert entries[0] == version


def test_the_readme_shows_commands() -> None:
    assert len(list(typed_commands(ROOT / "README.md"))) >= 5
