"""What looks like a secret does not leave: its run stays here and is named, all other runs go."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dstui_store import Snapshot
from dstui_store.objects import FOLDER, REGULAR, TreeEntry
from tests.safety.canaries import Canary, canaries

if TYPE_CHECKING:
    from tests.conftest import DsCommand
    from tests.sharing.team import Clone, Team
from tests.store.ended_runs import committed_run


def one_line_canaries(seed: int) -> list[Canary]:
    """Those that a program could print in one line."""
    return [secret for secret in canaries(seed) if "\n" not in secret.value and "\\n" not in secret.value]


def run_with_code(clone: Clone, content: str) -> str:
    """A run whose stored code holds a secret, as an older dstui with fewer patterns may have left it; its id."""
    with clone.store.git.staging() as staging:
        folder = staging.tree([TreeEntry(REGULAR, "keys.py", staging.blob(content.encode()))])
        tree = staging.tree([TreeEntry(FOLDER, "conf", folder)])
        staging.publish()
    return committed_run(clone.store, Snapshot(tree=tree)).id


def test_a_secret_in_a_log_keeps_its_run_here_and_the_others_go(team: Team) -> None:
    alice = team.clone("alice")
    secrets = one_line_canaries(21)[:8]
    honest = [alice.run(log=b"loss=0.5\n").id]
    leaky = {alice.run(log=f"start\n{secret.text}\n".encode()).id: secret for secret in secrets}
    honest.append(alice.run(log=b"loss=0.25\n").id)
    sent = alice.push()
    assert sent.runs == honest
    assert {item.run for item in sent.held} == set(leaky)
    assert {(item.path, item.line) for item in sent.held} == {("log.gz", 2)}
    said = repr(sent.held)
    assert [secret.name for secret in secrets if secret.value in said] == []
    whole = team.all_bytes()
    assert [run for run in leaky if run.encode() in whole] == []


def test_a_secret_in_code_is_found_once_more(team: Team) -> None:
    alice = team.clone("alice")
    secret = one_line_canaries(22)[0]
    runs = [run_with_code(alice, f"x = 1\n\n{secret.text}\n") for _ in range(2)]
    sent = alice.push()
    assert sent.runs == []
    assert [(item.run, item.path, item.line) for item in sent.held] == [(run, "code/conf/keys.py", 3) for run in runs]
    assert team.refs().keys() == {"refs/heads/main"}


def test_a_secret_in_a_note_keeps_the_note_here(team: Team) -> None:
    alice = team.clone("alice")
    run = alice.run()
    alice.push()
    secret = one_line_canaries(23)[1]
    alice.store.operate(run.id, "note", value=secret.text)
    alice.store.operate(run.id, "tag", tag="fine")
    sent = alice.push()
    assert (sent.operations, [item.run for item in sent.held]) == (1, [run.id])
    assert secret.value.encode() not in team.all_bytes()


@pytest.mark.soak
def test_no_secret_that_a_program_could_print_leaves(team: Team) -> None:
    alice = team.clone("alice")
    for seed in range(30, 36):
        for secret in one_line_canaries(seed):
            alice.run(log=f"start\n{secret.text}\n".encode())
    assert alice.push().runs == []


@pytest.mark.slow
def test_the_command_names_run_file_and_kind_and_how_to_let_it_pass(team: Team, ds: DsCommand) -> None:
    alice = team.clone("alice")
    secret = one_line_canaries(24)[0]
    run = alice.run(log=f"{secret.text}\n".encode())
    done = ds("push", cwd=alice.path)
    assert done.code == 1
    assert f"run {run.id[:5]} stays here: log.gz line 1 looks like a secret (" in done.err
    assert secret.value not in done.err + done.out
    as_json = ds("push", "--json", cwd=alice.path)
    (found,) = json.loads(as_json.out)["held"]
    assert {key: found[key] for key in ("run", "file", "line")} == {"run": run.id, "file": "log.gz", "line": 1}
    assert f"`ds push --allow-secret {found['id']}`" in done.err
    assert ds("push", "--allow-secret", "not an id", cwd=alice.path).code == 2
    allowed = ds("push", "--allow-secret", found["id"], cwd=alice.path)
    assert (allowed.code, allowed.err) == (0, "")
    assert allowed.out.startswith("1 run sent to origin")
    assert run.id.encode() in team.all_bytes()


def test_an_allowed_finding_allows_no_other(team: Team) -> None:
    alice = team.clone("alice")
    first, second = one_line_canaries(25)[:2]
    one, two = alice.run(log=first.text.encode()), alice.run(log=second.text.encode())
    finding = next(item for item in alice.push().held if item.run == one.id)
    alice.sharing.allow([finding.id])
    sent = alice.push(by_itself=False)
    assert (sent.runs, {item.run for item in sent.held}) == ([one.id], {two.id})
