"""Tells what a Python environment holds, from inside: `python -I -S probe.py` prints one JSON object.

Packages are read from the names of their `.dist-info` folders. Nothing of the environment is imported and no `.pth`
file is run, so a package that is broken, slow or talkative changes nothing here.
"""

from __future__ import annotations

import json
import os
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAX_PACKAGES = 5000
"""Packages that are listed; of more the first in order of the search path."""

MAX_TEXT = 400
"""Characters of one name, version or address."""

MAX_FILE_BYTES = 1 << 16
"""Of a file that is looked into."""


def survey() -> dict[str, Any]:
    """The environment of this interpreter; `watched` holds what a cached answer depends on, with times of change."""
    config = venv_config(sys.executable)
    own_prefix = os.path.dirname(os.path.dirname(os.path.abspath(sys.executable)))
    prefix = sys.base_prefix if config is None else own_prefix
    folders = site_folders(prefix, config)
    packages: dict[str, str] = {}
    sources: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for name, version, source in packages_in(folder):
            if name not in packages and len(packages) < MAX_PACKAGES:
                packages[name] = version
                if source:
                    sources[name] = source
    meta = os.path.join(prefix, "conda-meta")
    watched = [*folders, meta, os.path.join(prefix, "pyvenv.cfg")]
    return {
        "version": sys.version.split()[0],
        "implementation": sys.implementation.name,
        "tag": sys.implementation.cache_tag,
        "prefix": prefix,
        "base_prefix": sys.base_prefix,
        "kind": "conda" if os.path.isdir(meta) else "system" if config is None else "venv",
        "packages": packages,
        "sources": sources,
        "conda": conda_packages(meta),
        "torch": torch_build(folders),
        "watched": {path: changed_at(path) for path in watched},
    }


def venv_config(executable: str) -> dict[str, str] | None:
    """The entries of the `pyvenv.cfg` that an interpreter belongs to; None outside a virtual environment."""
    folder = os.path.dirname(os.path.abspath(executable))
    for path in (os.path.join(folder, "pyvenv.cfg"), os.path.join(os.path.dirname(folder), "pyvenv.cfg")):
        text = read(path)
        if text is not None:
            pairs = (line.partition("=") for line in text.splitlines())
            return {key.strip().lower(): value.strip() for key, _, value in pairs}
    return None


def site_folders(prefix: str, config: dict[str, str] | None) -> list[str]:
    """Folders that packages are found in, in the order of the search path; without links, each once."""
    import site

    # What `site` would have set, had it been run; Debian's own asks it for the place of its folders.
    sys.prefix = sys.exec_prefix = prefix
    folders = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(path)]
    shares_system = config is None or config.get("include-system-site-packages", "").lower() == "true"
    if shares_system and not os.environ.get("PYTHONNOUSERSITE"):
        folders.append(site.getusersitepackages())
    folders += site.getsitepackages([prefix])
    if config is not None and shares_system:
        sys.prefix = sys.exec_prefix = sys.base_prefix
        folders += site.getsitepackages([sys.base_prefix])
    found: dict[str, None] = {}
    for folder in folders:
        found.setdefault(os.path.realpath(folder))
    return list(found)


def packages_in(folder: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, version, source) of each package of a folder; an empty source means the package index."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for entry in names:
        stem, kind = os.path.splitext(entry)
        path = os.path.join(folder, entry)
        if kind == ".dist-info":
            name, _, version = stem.rpartition("-")
            yield plain_name(name), version[:MAX_TEXT], source_of(path)
        elif kind == ".egg-info":
            name, _, rest = stem.partition("-")
            yield plain_name(name), rest.partition("-py")[0][:MAX_TEXT] or header(path, "Version"), {}
        elif kind == ".egg-link":
            lines = (read(path) or "").splitlines()
            if lines:
                info = os.path.join(lines[0].strip(), stem.replace("-", "_") + ".egg-info")
                source = {"editable": True, "path": lines[0].strip()[:MAX_TEXT]}
                yield plain_name(stem), header(info, "Version"), source


def plain_name(name: str) -> str:
    """A package's name in the one form that all its spellings share."""
    return re.sub(r"[-_.]+", "-", name).lower()[:MAX_TEXT]


def source_of(info: str) -> dict[str, Any]:
    """Where a package was installed from when not the index: address, commit, or the folder it is edited in."""
    text = read(os.path.join(info, "direct_url.json"))
    try:
        data = json.loads(text) if text else {}
        url = str(data.get("url", ""))
        source: dict[str, Any] = {}
        if url.startswith("file://"):
            from urllib.parse import unquote

            source["path"] = unquote(url[len("file://") :])[:MAX_TEXT]
        elif url:
            # An address may hold a password or a token.
            source["url"] = re.sub(r"//[^/@]*@", "//", url.partition("?")[0])[:MAX_TEXT]
        if (data.get("dir_info") or {}).get("editable"):
            source["editable"] = True
        commit = (data.get("vcs_info") or {}).get("commit_id")
        if commit:
            source["commit"] = str(commit)[:MAX_TEXT]
        return source
    except (ValueError, AttributeError, TypeError):
        return {}


def header(info: str, key: str) -> str:
    """One field of the metadata of an `.egg-info` folder or file, empty when there is none."""
    text = read(os.path.join(info, "PKG-INFO") if os.path.isdir(info) else info) or ""
    found = re.search(f"^{key}: (.*)$", text, re.MULTILINE)
    return found.group(1).strip()[:MAX_TEXT] if found else ""


def conda_packages(meta: str) -> dict[str, str]:
    """Name to `version build` of what conda installed."""
    try:
        names = sorted(name[: -len(".json")] for name in os.listdir(meta) if name.endswith(".json"))
    except OSError:
        return {}
    parts = (name.rsplit("-", 2) for name in names[:MAX_PACKAGES])
    return {part[0][:MAX_TEXT]: f"{part[1]} {part[2]}"[:MAX_TEXT] for part in parts if len(part) == 3}


def torch_build(folders: list[str]) -> dict[str, str | None] | None:
    """What PyTorch was built for, from the text of its version file; None without PyTorch."""
    for folder in folders:
        text = read(os.path.join(folder, "torch", "version.py"))
        if text is not None:
            build: dict[str, str | None] = {}
            for key, name in (("version", "__version__"), ("cuda", "cuda"), ("hip", "hip")):
                found = re.search(rf"^{name}\b[^=\n]*=\s*['\"]([^'\"\n]+)['\"]", text, re.MULTILINE)
                build[key] = found.group(1)[:MAX_TEXT] if found else None
            return build
    return None


def changed_at(path: str) -> int | None:
    """When a file or folder was last changed, in nanoseconds; None when it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def read(path: str) -> str | None:
    """The text of a small file, None when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError:
        return None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(survey()))
