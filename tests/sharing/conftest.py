"""Fixtures of the sharing tests: a team in a folder, or behind a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sharing.team import Server, Team, git_daemon, make_team, sshd


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    """A team whose bare repository is reached as a folder: the quickest, for what does not depend on the way there."""
    made = make_team(tmp_path / "team")
    yield made
    made.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A `git daemon` for `served`."""
    folder = tmp_path / "team"
    folder.mkdir()
    made = git_daemon(folder)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def served(tmp_path: Path, server: Server) -> Iterator[Team]:
    """A team behind a `git daemon`."""
    made = make_team(tmp_path / "team", f"{server.url}/team.git")
    yield made
    made.close()


@pytest.fixture(params=["git daemon", "ssh"])
def reached(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    """A team behind each kind of server in turn."""
    folder = tmp_path / "team"
    folder.mkdir()
    if request.param == "ssh":
        made = sshd(folder, monkeypatch)
    else:
        made = git_daemon(folder)
        made.start()
    team = make_team(folder, f"{made.url}/team.git")
    yield team
    team.close()
    made.kill()
