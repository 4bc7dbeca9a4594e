"""Does a script need a GPU? Its static imports, and those of the project's modules it reaches, say so."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

GPU_LIBRARIES = frozenset({"torch", "jax", "tensorflow", "cupy", "lightning", "pytorch_lightning", "transformers"})
"""Who imports one of these may want a GPU."""

MAX_FILES, MAX_BYTES = 200, 1 << 20
"""Files looked at, and the size of each."""


def gpu_library(words: Sequence[str], cwd: Path) -> str | None:
    """The first library for GPUs that the script of a command imports, also by way of modules beside it."""
    script = next((word for word in words if word.endswith(".py")), None)
    if script is None:
        return None
    first = cwd / script
    waiting, seen = [first], {first}
    while waiting and len(seen) <= MAX_FILES:
        path = waiting.pop()
        for name in _imports(path):
            top = name.partition(".")[0]
            if top in GPU_LIBRARIES:
                return top
            for base in {first.parent, cwd, path.parent}:
                for found in (base / f"{name.replace('.', '/')}.py", base / top / "__init__.py", base / f"{top}.py"):
                    if found not in seen and found.is_file():
                        seen.add(found)
                        waiting.append(found)
    return None


def _imports(path: Path) -> Iterator[str]:
    try:
        if path.stat().st_size > MAX_BYTES:
            return
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
