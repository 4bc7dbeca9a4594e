"""A log that was rewritten on the remote: it is said, what vanished is kept, and its maker's next push mends it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from dstui_store import incoming
from tests.store.git_projects import fsck, git, store_git

if TYPE_CHECKING:
    from tests.sharing.team import Clone, Team


def shared(team: Team, clone: Clone, runs: int) -> list[str]:
    """Ids of new runs that are on the remote."""
    made = [clone.run().id for _ in range(runs)]
    clone.push()
    return made


def cut(team: Team, clone: Clone, entries: int) -> None:
    """Somebody makes a writer's log shorter, as a force push does."""
    ref = f"refs/ds/w/{clone.writer}"
    team.git("update-ref", ref, team.git("rev-parse", f"{ref}~{entries}").strip())


def test_a_rewritten_log_is_named_counted_and_kept(team: Team) -> None:
    alice, bob = team.clone("alice"), team.clone("bob")
    runs = shared(team, alice, 3)
    bob.pull()
    cut(team, alice, 2)
    received = bob.pull()
    (found,) = received.rewritten
    assert (found.writer, set(found.vanished)) == (alice.writer, set(runs[1:]))
    assert bob.ids() == [runs[0]]
    kept = store_git(bob.store, "log", "--format=%B", found.kept_as).decode()
    assert all(run in kept for run in runs)
    assert bob.pull().rewritten == []
    # Her next push brings them back: nothing of hers depended on the remote.
    alice.push()
    again = bob.pull()
    assert again.rewritten == []
    assert bob.ids() == sorted(runs)
    assert fsck(bob.store) == ""


def test_entries_of_somebody_else_under_our_name_are_joined_with_ours(team: Team) -> None:
    alice, bob = team.clone("alice"), team.clone("bob")
    first = shared(team, alice, 2)
    cut(team, alice, 1)
    # Another clone of hers under the same name, which knows nothing of the second run.
    other = team.clone("other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSTUI_WRITER", alice.writer)
        third = shared(team, other, 1)
    fourth = shared(team, alice, 1)
    bob.pull()
    assert bob.ids() == sorted([*first, *third, *fourth])
    alice.pull()
    assert alice.ids() == bob.ids()
    assert fsck(alice.store) == ""


def test_our_own_log_changed_on_the_remote_is_left_for_the_next_push(team: Team) -> None:
    alice = team.clone("alice")
    runs = shared(team, alice, 2)
    cut(team, alice, 1)
    assert alice.pull().rewritten == []
    assert alice.ids() == sorted(runs)
    alice.push()
    assert len(team.git("rev-list", "--first-parent", f"refs/ds/w/{alice.writer}").split()) == 3


def test_a_kept_log_goes_after_two_weeks(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = team.clone("alice"), team.clone("bob")
    shared(team, alice, 2)
    bob.pull()
    cut(team, alice, 1)
    bob.pull()
    assert len(bob.store.git.refs(incoming.OLD)) == 1

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(days=13)

    monkeypatch.setattr(incoming, "datetime", Later)
    bob.pull()
    assert len(bob.store.git.refs(incoming.OLD)) == 1
    monkeypatch.setattr(Later, "now", classmethod(lambda cls, tz=None: datetime.now(UTC) + timedelta(days=15)))
    bob.pull()
    assert bob.store.git.refs(incoming.OLD) == {}


def test_a_writer_replaced_by_unrelated_history_loses_nothing_here(team: Team) -> None:
    alice, bob = team.clone("alice"), team.clone("bob")
    runs = shared(team, alice, 2)
    bob.pull()
    head = git(team.bare, "rev-parse", "refs/heads/main").decode().strip()
    team.git("update-ref", f"refs/ds/w/{alice.writer}", head)
    (found,) = bob.pull().rewritten
    assert set(found.vanished) == set(runs)
    alice.push()
    bob.pull()
    assert bob.ids() == sorted(runs)
