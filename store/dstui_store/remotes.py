"""The repository that a team shares runs through: which one is meant, and by which protocol it is reached.

The project's git configuration is read as text. A URL that names a program (`ext::…`) or an unknown protocol is
refused here, before any git sees it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dstui_store.errors import StoreError
from dstui_store.git import read_config

if TYPE_CHECKING:
    from dstui_store.git import Git

PROTOCOLS = {
    "https": "https",
    "http": "http",
    "ssh": "ssh",
    "git+ssh": "ssh",
    "ssh+git": "ssh",
    "git": "git",
    "file": "file",
}
"""What a URL may begin with, and the protocol that git must be allowed for it."""

MAX_URL_LENGTH = 2_000

_REMOTE_KEY = re.compile(r"remote\.(.+)\.(url|pushurl)", re.DOTALL)


@dataclass(frozen=True)
class Remote:
    """One remote.

    Attributes:
        name: what the user calls it: `origin`, or the URL without its password.
        url: where runs are fetched from.
        push_url: where they are pushed to; the same unless the project's git has a `pushurl`.
    """

    name: str
    url: str
    push_url: str

    @property
    def key(self) -> str:
        """8 hex digits that stand for this remote in names of refs; a new password or a final `.git` is the same."""
        plain = without_password(self.url).rstrip("/").removesuffix(".git")
        return hashlib.sha256(plain.encode("utf-8", "surrogateescape")).hexdigest()[:8]

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return without_password(self.push_url)


def remotes_of(git: Git) -> dict[str, Remote]:
    """The remotes that the project's git knows, by name, in the order of its configuration."""
    common_dir = git.layout.common_dir
    if common_dir is None:
        return {}
    found: dict[str, dict[str, str]] = {}
    for key, value in read_config(git, common_dir / "config"):
        known = _REMOTE_KEY.fullmatch(key)
        if known and value:
            # The first of several is the one that git fetches from.
            found.setdefault(known[1], {}).setdefault(known[2], _absolute(value, git.layout.project))
    return {
        name: Remote(name, urls["url"], urls.get("pushurl", urls["url"]))
        for name, urls in found.items()
        if "url" in urls
    }


def find_remote(git: Git, wanted: str | None = None) -> Remote:
    """The remote of a name or URL; without one `origin`, or the only one there is.

    Raises:
        StoreError: there is none of that name, or none at all, or its URL is none that is ever used.
    """
    remotes = remotes_of(git)
    remote = _named(remotes, wanted) if wanted is None or wanted in remotes else _at_url(wanted, remotes)
    for url in (remote.url, remote.push_url):
        protocol_of(url)
    return remote


def protocol_of(url: str) -> str:
    """The protocol by which git reaches a URL: `https`, `http`, `ssh`, `git` or `file`.

    Raises:
        StoreError: another one, or a URL that git would take for an option or a program.
    """
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in without_password(url)[:200])
    hint = f"known are {', '.join(sorted(set(PROTOCOLS.values())))}, `host:path` and the path of a folder"
    if not url or len(url) > MAX_URL_LENGTH or url.startswith("-") or not url.isprintable():
        raise StoreError(f"`{shown}` is no address of a repository", hint=hint)
    if re.match(r"[^/:]*::", url):
        raise StoreError(f"`{shown}` names a program, which is never started", hint=hint)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
    if scheme:
        protocol = PROTOCOLS.get(scheme[1].lower())
        if protocol is None:
            raise StoreError(f"`{shown}` uses the unknown protocol `{scheme[1]}`", hint=hint)
        return protocol
    if url.startswith("/"):
        return "file"
    if re.match(r"[^/:]+:", url):
        return "ssh"
    raise StoreError(f"`{shown}` is no address of a repository", hint=hint)


def without_password(url: str) -> str:
    """The URL as it may be shown and stored: without what stands for a password in it."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    host, slash, path = rest.partition("/")
    user, at, name = host.rpartition("@")
    if not at:
        return url
    # Of `https://TOKEN@host` the user is the secret; of ssh the user is part of the address.
    kept = user.split(":")[0] + at if scheme.lower().endswith("ssh") or "+ssh" in scheme else ""
    return f"{scheme}{mark}{kept}{name}{slash}{path}"


def _named(remotes: Mapping[str, Remote], wanted: str | None) -> Remote:
    if wanted is not None:
        return remotes[wanted]
    if "origin" in remotes:
        return remotes["origin"]
    if len(remotes) == 1:
        return next(iter(remotes.values()))
    if not remotes:
        raise StoreError(
            "This project has no remote to share runs through",
            hint="`git remote add origin URL`, or name one: `ds share on URL`",
        )
    raise StoreError("This project has several remotes and none is called `origin`", hint=_names(remotes))


def _at_url(wanted: str, remotes: Mapping[str, Remote]) -> Remote:
    if not re.search(r"[/:]", wanted) and not Path(wanted).is_dir():
        raise StoreError(f"There is no remote `{wanted}`", hint=_names(remotes) if remotes else "give a URL")
    url = _absolute(wanted, Path.cwd())
    return next(
        (remote for remote in remotes.values() if url in {remote.url, remote.push_url}),
        Remote(without_password(url), url, url),
    )


def _names(remotes: Mapping[str, Remote]) -> str:
    return f"name one of {', '.join(sorted(remotes))}, or give a URL"


def _absolute(url: str, folder: Path) -> str:
    """A path as an absolute one, since our git works in a folder of its own; anything else as it is."""
    is_path = "://" not in url and "::" not in url and not re.match(r"[^/]*:", url)
    return os.path.normpath(folder / os.path.expanduser(url)) if is_path and not url.startswith("-") else url
