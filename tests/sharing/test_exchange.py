"""Runs reach every teammate whole and once, over real servers; what is private or not pushed never leaves."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from dstui_store import LimitError
from tests.sharing.team import Team, make_team
from tests.store.git_projects import fsck, git, store_git, write_files


@pytest.mark.slow
def test_runs_arrive_whole_and_once(reached: Team) -> None:
    alice, bob = reached.clone("alice"), reached.clone("bob")
    made = [alice.run(metrics={"loss": [1.0, 0.5, math.nan]}, log=b"one\ntwo\n", name=f"run {n}") for n in range(3)]
    alice.store.operate(made[0].id, "tag", tag="good")
    alice.store.operate(made[1].id, "rename", value="better")
    assert alice.push().runs == [record.id for record in made]
    assert bob.pull().runs == {alice.writer: [record.id for record in made]}
    assert bob.ids() == alice.ids()
    for record in made:
        ours, theirs = alice.store.record(record.id), bob.store.record(record.id)
        assert repr(ours) == repr(theirs)
        assert bob.store.log(record.id) == b"one\ntwo\n"
        assert bob.store.meta(record.id) == alice.store.meta(record.id)
        assert bob.store.code_entries(record.id) == alice.store.code_entries(record.id)
        values = bob.store.metrics(record.id)["loss"].value
        assert values[:2].tolist() == [1.0, 0.5]
        assert math.isnan(values[2])
    assert bob.store.record(made[0].id).tags == ("good",)
    assert bob.store.record(made[1].id).name == "better"
    assert bob.pull().runs == {}
    again = alice.push()
    assert (again.runs, again.operations, again.objects) == ([], 0, 0)
    mine = bob.run()
    assert bob.push().runs == [mine.id]
    assert alice.pull().runs == {bob.writer: [mine.id]}
    assert alice.ids() == bob.ids() == sorted([*(record.id for record in made), mine.id])
    assert fsck(alice.store) == fsck(bob.store) == ""
    assert "error" not in reached.git("fsck", "--full", "--strict")


@pytest.mark.slow
def test_private_runs_and_the_user_s_own_commits_never_reach_the_remote(reached: Team) -> None:
    alice = reached.clone("alice")
    write_files(alice.path, {"train.py": "print('never pushed by its user')\n"})
    git(alice.path, "commit", "-q", "-a", "-m", "not pushed yet: QUIET-COMMIT")
    commits = set(git(alice.path, "rev-list", "--all").decode().split()) - set(reached.objects())
    public = alice.run(log=b"PUBLIC-LOG\n")
    write_files(alice.path, {"hidden.py": "print('PRIVATE-CODE')\n"})
    private = alice.run(edited=True, private=True, name="PRIVATE-NAME", log=b"PRIVATE-LOG\n", notes="PRIVATE-NOTE")
    alice.store.operate(private.id, "tag", tag="PRIVATE-TAG")
    alice.store.operate(private.id, "note", value="PRIVATE-LATER")
    sent = alice.push()
    assert (sent.runs, sent.private) == ([public.id], 1)
    assert alice.push(runs=[private.id]).runs == []
    there, whole = reached.objects(), reached.all_bytes()
    assert commits
    assert not commits & there.keys()
    assert b"QUIET-COMMIT" not in whole
    assert b"PRIVATE-" not in whole
    assert private.id.encode() not in whole
    assert public.id.encode() in whole
    # Nothing of it is named by what did go: every object of the private run that the public one does not share.
    assert private.commit is not None
    assert public.commit is not None
    hidden = set(store_git(alice.store, "rev-list", "--objects", "--no-object-names", private.commit).decode().split())
    shared = set(store_git(alice.store, "rev-list", "--objects", "--no-object-names", public.commit).decode().split())
    assert not (hidden - shared) & there.keys()


def test_a_month_offline_loses_nothing_and_doubles_nothing(served: Team) -> None:
    alice, bob = served.clone("alice"), served.clone("bob")
    alice.run()
    alice.push()
    bob.pull()
    for number in range(12):
        alice.run(log=f"alice {number}\n".encode())
        bob.run(log=f"bob {number}\n".encode())
        if number % 4 == 0:
            alice.store.operate(alice.ids()[0], "tag", tag=f"t{number}")
    assert len(alice.push().runs) == 12
    assert len(bob.push().runs) == 12
    alice.pull()
    bob.pull()
    assert alice.ids() == bob.ids()
    assert len(set(alice.ids())) == len(alice.ids()) == 25
    tags = [{record.id: record.tags for record in clone.store.records()} for clone in (alice, bob)]
    assert tags[0] == tags[1]
    assert fsck(alice.store) == fsck(bob.store) == ""


def test_a_tag_on_a_teammate_s_run_reaches_its_maker(team: Team) -> None:
    alice, bob, carol = team.clone("alice"), team.clone("bob"), team.clone("carol")
    run = alice.run()
    alice.push()
    bob.pull()
    bob.store.operate(run.id, "tag", tag="paper")
    bob.store.operate(run.id, "rename", value="mine now")
    assert bob.push().operations == 2
    for clone in (alice, carol):
        clone.pull()
        assert clone.store.record(run.id).tags == ("paper",)
        # Only a run's own writer may rename it.
        assert clone.store.record(run.id).name == "train"


def test_a_deleted_run_is_not_sent_and_one_that_was_is_hidden_from_others(team: Team) -> None:
    alice, bob = team.clone("alice"), team.clone("bob")
    kept, gone, never = alice.run(), alice.run(), alice.run()
    alice.store.operate(never.id, "del")
    assert alice.push().runs == [kept.id, gone.id]
    alice.store.operate(gone.id, "del")
    alice.push()
    bob.pull()
    assert bob.ids() == [kept.id]
    assert never.id.encode() not in team.all_bytes()
    alice.store.operate(never.id, "undel")
    assert alice.push().runs == [never.id]


def test_only_the_named_runs_go(team: Team) -> None:
    alice, bob = team.clone("alice"), team.clone("bob")
    runs = [alice.run() for _ in range(3)]
    assert alice.push(runs=[runs[1].id]).runs == [runs[1].id]
    bob.pull()
    assert bob.ids() == [runs[1].id]
    assert alice.push().runs == [runs[0].id, runs[2].id]


def test_by_itself_go_only_runs_that_began_after_it_was_agreed_to(team: Team) -> None:
    alice = team.clone("alice")
    older = alice.run()
    alice.sharing.turn_on(alice.remote)
    newer = alice.run()
    alice.run(private=True)
    assert alice.push(by_itself=True).runs == [newer.id]
    assert alice.push(by_itself=True).runs == []
    assert alice.push().runs == [older.id]


def test_another_remote_gets_nothing_that_was_offered_to_the_first(team: Team) -> None:
    alice = team.clone("alice")
    first, second = alice.run(), alice.run()
    alice.push(runs=[first.id])
    other = make_team(team.folder / "other")
    sharing = alice.sharing
    sharing.push(sharing.find(str(other.bare)), runs=[second.id])
    assert first.id.encode() not in other.all_bytes()
    assert second.id.encode() not in team.all_bytes()


def test_a_sha_256_project_shares_as_well(tmp_path: Path) -> None:
    team = make_team(tmp_path / "team", algorithm="sha256")
    alice, bob = team.clone("alice"), team.clone("bob")
    run = alice.run(metrics={"loss": [1.0]})
    alice.push()
    bob.pull()
    assert bob.ids() == [run.id]
    assert fsck(bob.store) == ""
    team.close()


def test_code_over_the_limit_is_refused_by_name(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = team.clone("alice"), team.clone("bob")
    run = alice.run()
    alice.push()
    bob.pull()
    assert len(bob.store.code_entries(run.id)) == 2
    monkeypatch.setattr("dstui_store.reading.MAX_CODE_BYTES", 20)
    with pytest.raises(LimitError, match="size of a run's code in bytes"):
        bob.store.code_entries(run.id)
    # What one has written oneself one can read.
    assert len(alice.store.code_entries(run.id)) == 2
