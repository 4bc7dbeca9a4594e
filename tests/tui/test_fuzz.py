"""Random keys, sizes and commits, from a printed seed: no exception, every frame whole, and keys still answered."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from dstui.tui.actions import ACTIONS
from tests.store.ended_runs import begun_run, ended_run

if TYPE_CHECKING:
    from dstui_store import Store
    from tests.tui.conftest import Opened, Session

SIZES = [(120, 36), (80, 24), (60, 16), (40, 10), (200, 60), (20, 5), (110, 24), (1, 1)]
NAMES = {
    " ": "space",
    "/": "slash",
    ":": "colon",
    "?": "question_mark",
    "<": "less_than_sign",
    ">": "greater_than_sign",
}
QUITTING = {"q", "ctrl+c"}
KEYS = [key for action in ACTIONS for key in action.keys if key not in QUITTING] + [
    "enter",
    "escape",
    "x",
    "l",
    "r",
    "5",
]


async def wild(session: Session, store: Store, generator: random.Random, steps: int) -> None:
    """Does random things."""
    for step in range(steps):
        chance = generator.random()
        if chance < 0.03:
            await session.pilot.resize_terminal(*generator.choice(SIZES))
        elif chance < 0.04:
            # The dashboard may be the one to commit it.
            store.commit_ended(ended_run(store, name=f"new {step}", metrics={"loss": [generator.random()] * 3}))
        else:
            key = generator.choice(KEYS)
            session.app.handle_key(NAMES.get(key, key), key if len(key) == 1 else None)
        if step % 5 == 0:
            await session.pilot.pause()


async def run_fuzz(opened: Opened, store: Store, seed: int, steps: int) -> None:
    generator = random.Random(seed)
    live = begun_run(store, name="live")
    async with opened(store.layout.project) as session:
        # Nothing may really be stopped or written by chance.
        session.app.reader.act = lambda act: None  # type: ignore[method-assign]
        await session.shows("kept")
        await wild(session, store, generator, steps)
        await session.pilot.resize_terminal(100, 30)
        for _ in range(6):
            await session.press("escape")
        await session.press("1")
        await session.until(lambda: session.app.page_name == "overview" and "Recent runs" in session.screen)
        assert {strip.cell_length for strip in session.app.screen._compositor.render_strips()} == {100}
    os.close(live.alive)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_random_keys_sizes_and_commits_break_nothing(opened: Opened, store: Store, seed: int) -> None:
    await run_fuzz(opened, store, seed, 300)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
async def test_many_random_keys_sizes_and_commits_break_nothing(opened: Opened, store: Store, seed: int) -> None:
    await run_fuzz(opened, store, seed, 5_000)
