"""The commands that share, as a person types them, and teammates' runs wherever runs are shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import DsCommand
    from tests.sharing.team import Team


@pytest.mark.slow
def test_a_teammate_s_run_is_listed_shown_and_found_by_its_maker_s_name(team: Team, ds: DsCommand) -> None:
    alice, bob = team.clone("alice"), team.clone("bob")
    hers = alice.run(user="alice", name="wide", metrics={"loss": [1.0, 0.25]}, notes="from her")
    pushed = ds("push", cwd=alice.path)
    assert (pushed.code, pushed.out, pushed.err) == (0, "1 run sent to origin\n", "")
    pulled = ds("pull", cwd=bob.path)
    assert (pulled.code, pulled.err) == (0, "")
    assert pulled.out == f"1 new run from origin: {alice.writer} 1\n"
    assert ds("pull", cwd=bob.path).out == "nothing new on origin\n"
    mine = bob.run(user="bob", name="deep")
    listed = ds("ls", cwd=bob.path).out
    assert "alice#1" in listed
    assert " #1 " in listed
    assert "from her" in ds("show", "alice#1", cwd=bob.path).out
    for query, found in (("user:alice", hers), (f"writer:{bob.writer}", mine), ("by:bob", mine)):
        assert [run["id"] for run in json.loads(ds("ls", query, "--json", cwd=bob.path).out)] == [found.id]
    page = ds("--once", "runs", cwd=bob.path)
    assert "alice#1" in page.out
    assert "0.25" in ds("metrics", "alice#1", cwd=bob.path).out


@pytest.mark.slow
def test_words_name_runs_or_are_a_query(team: Team, ds: DsCommand) -> None:
    alice, bob = team.clone("alice"), team.clone("bob")
    runs = [alice.run(name=f"run-{number}", tags=["paper"] if number else []) for number in range(3)]
    private = alice.run(private=True)
    planned = json.loads(ds("push", "-n", "--json", cwd=alice.path).out)
    assert (planned["dry_run"], planned["sent"]) == (True, [run.id for run in runs])
    assert list(team.refs()) == ["refs/heads/main"]
    assert json.loads(ds("push", "tag:paper", "--json", cwd=alice.path).out)["sent"] == [runs[1].id, runs[2].id]
    assert json.loads(ds("push", "run-0", "--json", cwd=alice.path).out)["sent"] == [runs[0].id]
    refused = ds("push", private.id, cwd=alice.path)
    assert (refused.code, refused.out) == (2, "")
    assert "is private" in refused.err
    unknown = ds("push", "nothing-like-it", cwd=alice.path)
    assert unknown.code == 3
    assert "No run is called `nothing-like-it`" in unknown.err
    ds("pull", cwd=bob.path)
    theirs = ds("push", runs[0].id, cwd=bob.path)
    assert theirs.code == 2
    assert "who shares it" in theirs.err
    error = json.loads(ds("push", "--remote", "nowhere", "--json", cwd=alice.path).err)["error"]
    assert (error["kind"], error["hint"]) == ("store", "name one of origin, or give a URL")


@pytest.mark.slow
def test_a_private_run_says_so_wherever_it_is_shown(team: Team, ds: DsCommand) -> None:
    alice = team.clone("alice")
    assert ds("run", "--private", "train.py", cwd=alice.path).code == 0
    (run,) = json.loads(ds("ls", "--json", cwd=alice.path).out)
    assert run["private"] is True
    assert json.loads(ds("show", "@", "--json", cwd=alice.path).out)["private"] is True
    assert "private" in ds("show", "@", cwd=alice.path).out
    pushed = ds("push", cwd=alice.path)
    assert pushed.out == "nothing new to send to origin\n1 private run stays here\n"
    assert list(team.refs()) == ["refs/heads/main"]
