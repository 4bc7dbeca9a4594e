"""What one new run moves stays small, however many runs are there already; so does the sign that nothing is new."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dstui_store.network import Network
from tests.sharing.many_runs import add_runs
from tests.store.git_projects import write_files

if TYPE_CHECKING:
    from tests.sharing.team import Team

MOST_OBJECTS = 13


def moves_little(team: Team, runs: int) -> None:
    alice, bob = team.clone("alice"), team.clone("bob")
    write_files(alice.path, {f"pkg{number}/module.py": f"x = {number}\n" for number in range(30)})
    add_runs(alice.store, runs, alice.store.snapshot().tree)
    assert len(alice.push().runs) == runs
    assert sum(map(len, bob.pull().runs.values())) == runs
    same_code = alice.run(metrics={"loss": [1.0, 0.5]})
    before = len(team.objects())
    sent = alice.push()
    assert sent.runs == [same_code.id]
    assert 0 < sent.objects <= MOST_OBJECTS
    assert len(team.objects()) - before <= MOST_OBJECTS
    known = count(bob.store.git.run("cat-file", "--batch-check", "--batch-all-objects"))
    bob.pull()
    assert count(bob.store.git.run("cat-file", "--batch-check", "--batch-all-objects")) - known <= MOST_OBJECTS
    # One edited file: its blob, and the tree it stands in.
    write_files(alice.path, {"train.py": "print('edited')\n"})
    alice.run(edited=True, metrics={"loss": [1.0, 0.5]})
    assert 0 < alice.push().objects <= MOST_OBJECTS
    bob.pull()
    assert alice.ids() == bob.ids()


def count(lines: bytes) -> int:
    return lines.count(b"\n")


@pytest.mark.slow
def test_a_new_run_moves_at_most_13_objects(served: Team) -> None:
    moves_little(served, 60)


@pytest.mark.soak
def test_a_new_run_at_a_thousand_moves_at_most_13_objects(reached: Team) -> None:
    moves_little(reached, 1_000)


def test_nothing_new_starts_no_fetch_and_by_itself_no_connection(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = team.clone("alice")
    alice.run()
    alice.push()
    called: list[str] = []
    whole = Network._run

    def counted(self: Network, verb: str, *arguments: str, **how: object) -> tuple[bytes, str]:
        called.append(verb)
        return whole(self, verb, *arguments, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Network, "_run", counted)
    assert alice.push(by_itself=True).runs == []
    assert called == []
    alice.pull()
    assert "fetch" not in called
