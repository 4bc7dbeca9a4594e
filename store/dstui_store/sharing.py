"""Sharing runs through a git remote: whether it is on, with whom, and what a push and a pull did.

`share.json` of the store remembers what the user agreed to: the remote, its address at that moment, and the number of
each writer's last run then, so that only newer runs go by themselves. Nothing is sent or fetched but by `push` and
`pull` here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dstui_store import incoming, live, outgoing
from dstui_store.errors import StoreError
from dstui_store.network import Network, Progress, user_setting
from dstui_store.remotes import Remote, find_remote, remotes_of, without_password

if TYPE_CHECKING:
    from dstui_store.incoming import Received
    from dstui_store.outgoing import Sent
    from dstui_store.repository import Store
    from dstui_store.schema import Json, RunRecord

MAX_ALLOWED = 1_000
"""Findings that may be let pass in one store."""


@dataclass(frozen=True)
class ShareState:
    """What the user agreed to.

    Attributes:
        on: whether runs go with the user's own pushes.
        remote: the name or URL that the user gave.
        url: where that was, without a password; another address must be agreed to again.
        after: writer to the number of its last run that does not go by itself; a writer that is missing sends all.
        allowed: ids of findings that are no secrets.
        made_folder: the folder of hooks was made by us, so it goes when they go.
    """

    on: bool = False
    remote: str = ""
    url: str = ""
    after: Mapping[str, int] = field(default_factory=dict)
    allowed: tuple[str, ...] = ()
    made_folder: bool = False

    def goes_by_itself(self, record: RunRecord) -> bool:
        """Whether a run that is not private is sent without being named."""
        return record.number > self.after.get(record.writer, 0)


class Sharing:
    """What a store shares; used by one thread, as the store is."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def state(self) -> ShareState:
        """What the user agreed to; off when nothing was said."""
        data = live.read_json(self._store.layout.share_file)
        after, allowed = data.get("after"), data.get("allowed")
        numbers = after.items() if isinstance(after, dict) else ()
        return ShareState(
            on=data.get("on") is True,
            remote=_text(data.get("remote")),
            url=_text(data.get("url")),
            after={name: number for name, number in numbers if isinstance(number, int)},
            allowed=tuple(map(str, allowed)) if isinstance(allowed, list) else (),
            made_folder=data.get("made_folder") is True,
        )

    def turn_on(self, remote: Remote, *, with_older: bool = False, made_folder: bool = False) -> ShareState:
        """From now on runs go to a remote; the user has agreed to it."""
        before = self.state
        state = replace(
            before,
            on=True,
            remote=remote.name,
            url=without_password(remote.url),
            after={} if with_older else self._last_numbers(self.own_writers()),
            made_folder=made_folder or before.made_folder,
        )
        self._save(state)
        return state

    def turn_off(self) -> None:
        """Nothing goes by itself any more; what others have, they keep."""
        self._save(ShareState(allowed=self.state.allowed))

    def own_writers(self) -> set[str]:
        """The names that this clone has, and had."""
        return {ref.removeprefix(incoming.OWN) for ref in self._store.git.refs(incoming.OWN)} | {self._store.writer()}

    def remotes(self) -> dict[str, Remote]:
        """The remotes of the project's git by name."""
        return remotes_of(self._store.git)

    def find(self, wanted: str | None = None) -> Remote:
        """The remote of a name or URL, whatever was agreed to before; without one `origin`, or the only one.

        Raises:
            StoreError: there is none.
        """
        return find_remote(self._store.git, wanted)

    def user_setting(self, key: str) -> str | None:
        """What the user's own git configuration says for a key, outside any project."""
        return user_setting(self._store.git, key)

    def allow(self, ids: Iterable[str]) -> None:
        """Lets findings pass, now and later.

        Raises:
            StoreError: more than anyone looks at.
        """
        state = self.state
        allowed = tuple(dict.fromkeys([*state.allowed, *ids]))
        if len(allowed) > MAX_ALLOWED:
            raise StoreError(f"{len(allowed):,} findings would be let pass, at most {MAX_ALLOWED:,} may")
        if allowed != state.allowed:
            self._save(replace(state, allowed=allowed))

    def remote(self, wanted: str | None = None) -> Remote:
        """The remote that a name or URL means; without one that which is shared with, else `origin`.

        Raises:
            StoreError: there is none, or it is not where it was when the user agreed.
        """
        state = self.state
        found = find_remote(self._store.git, wanted or (state.remote if state.on else None) or None)
        if wanted is None and state.on and without_password(found.url) != state.url:
            raise StoreError(
                f"`{found.name}` is at {without_password(found.url)} now, and runs were to go to {state.url}",
                hint=f"`ds share on {found.name}` agrees to the new place",
            )
        return found

    def push(
        self,
        remote: Remote,
        *,
        runs: Collection[str] | None = None,
        by_itself: bool = False,
        progress: Progress | None = None,
        ask: bool = False,
        deadline_seconds: float | None = None,
    ) -> Sent:
        """Sends runs that a remote lacks.

        Args:
            runs: ids of the only ones that are wanted; None = every run that is not private.
            by_itself: no person named anything, so only what `state` says goes, and nobody is called for nothing.
            progress: shows what goes on.
            ask: the user may be asked for a password.
            deadline_seconds: when it must be over.

        Raises:
            RemoteRefusedError: the remote does not take our refs.
            RemoteError: it cannot be reached; the same push later does what is left.
        """
        state = self.state
        network = Network(self._store.git, remote, progress=progress, ask=ask, deadline_seconds=deadline_seconds)
        return outgoing.push(
            self._store,
            network,
            self._wanted(state, runs, by_itself),
            every_writer=not by_itself,
            always=not by_itself,
            allowed=state.allowed,
        )

    def preview(self, remote: Remote, *, runs: Collection[str] | None = None) -> Sent:
        """What `push` would send, by what is known here."""
        state = self.state
        return outgoing.preview(self._store, remote.key, self._wanted(state, runs, False), allowed=state.allowed)

    def pull(
        self,
        remote: Remote,
        *,
        progress: Progress | None = None,
        ask: bool = False,
        deadline_seconds: float | None = None,
    ) -> Received:
        """Takes in the runs of others; arguments as `push`.

        Raises:
            RemoteError: the remote cannot be reached.
        """
        network = Network(self._store.git, remote, progress=progress, ask=ask, deadline_seconds=deadline_seconds)
        return incoming.pull(self._store, network)

    def _wanted(self, state: ShareState, runs: Collection[str] | None, by_itself: bool) -> outgoing.Wanted:
        if by_itself:
            return state.goes_by_itself
        if runs is None:
            return lambda _: True
        named = frozenset(runs)
        return lambda record: record.id in named

    def _last_numbers(self, writers: Iterable[str]) -> dict[str, int]:
        index = self._store.index
        index.sync()
        last = {writer: index.last_number(writer) for writer in writers}
        for record in self._store.live_records():
            last[record.writer] = max(last.get(record.writer, 0), record.number)
        return last

    def _save(self, state: ShareState) -> None:
        data: dict[str, Json] = {
            "v": 1,
            "on": state.on,
            "remote": state.remote,
            "url": state.url,
            "after": dict(state.after),
            "allowed": list(state.allowed),
            "made_folder": state.made_folder,
        }
        live.write_json(self._store.layout.share_file, data)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
