"""Keeps passwords and keys out of what is stored: in files, argv, config values and output.

A file is scanned line by line only where a byte search found a key word, so that megabytes of clean code cost
milliseconds. A finding is replaced by `<secret:NAME>`; a private key makes the whole file be left out.
A line with `ds:allow-secret` is exempt.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PATTERN_VERSION = 2
"""Raised when a pattern changes, so that scans cached by blob are made again."""

SECRET_NAMES = (".env*", "*.pem", "*.key", "id_rsa*", "id_ed25519*", "id_ecdsa*", ".netrc", "kaggle.json")
"""Untracked files of these names are never stored."""

ALLOW = b"ds:allow-secret"

LONG_LINE = 1 << 14
"""Above so many bytes a line is looked at piece by piece: some patterns take the square of its length."""

_WORD = rb"[A-Za-z0-9_-]"


@dataclass(frozen=True, slots=True)
class _Pattern:
    """`words`: lower-case byte strings, one of which is in every match; `group`: what to replace."""

    name: str
    words: tuple[bytes, ...]
    regex: re.Pattern[bytes]
    group: int = 0
    random_only: bool = False


def _pattern(name: str, words: str, regex: bytes, *, group: int = 0, random_only: bool = False) -> _Pattern:
    return _Pattern(name, tuple(words.encode().split()), re.compile(regex), group, random_only)


_PATTERNS = (
    _pattern("aws-key", "akia asia", rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    _pattern("aws-secret", "aws_secret", rb"(?i)aws_secret\w*[\"']?\s*[:=]\s*[\"']?([A-Za-z0-9/+=]{40})\b", group=1),
    _pattern("github", "ghp_ gho_ ghu_ ghs_ ghr_", rb"\bgh[pousr]_[A-Za-z0-9]{36,255}\b"),
    _pattern("github", "github_pat_", rb"\bgithub_pat_\w{22,255}\b"),
    _pattern("gitlab", "glpat-", rb"\bglpat-" + _WORD + rb"{20,}"),
    _pattern("huggingface", "hf_", rb"\bhf_[A-Za-z0-9]{30,}\b"),
    _pattern("openai", "sk-", rb"\bsk-(?:proj-|ant-|or-|svcacct-)?" + _WORD + rb"{20,}", random_only=True),
    _pattern("wandb", "wandb", rb"(?i)wandb[\w.]*[\"']?\s*(?:[:=]|\(\s*key\s*=)\s*[\"']?([0-9a-f]{40})\b", group=1),
    _pattern("google", "aiza", rb"\bAIza" + _WORD + rb"{35}"),
    _pattern("slack", "xoxa- xoxb- xoxp- xoxr- xoxs-", rb"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    _pattern("slack", "hooks.slack.com", rb"hooks\.slack\.com/services/(\w+/\w+/\w+)", group=1),
    _pattern("stripe", "_live_", rb"\b[sr]k_live_[0-9A-Za-z]{20,}"),
    _pattern("npm", "npm_", rb"\bnpm_[A-Za-z0-9]{36}\b"),
    _pattern("pypi", "pypi-ag", rb"\bpypi-Ag" + _WORD + rb"{50,}"),
    _pattern("jwt", "eyj", rb"\beyJ" + _WORD + rb"{10,}\.eyJ" + _WORD + rb"{10,}\." + _WORD + rb"{10,}"),
    _pattern("azure", "accountkey=", rb"AccountKey=([A-Za-z0-9+/=]{60,})", group=1),
    _pattern("sendgrid", "sg.", rb"\bSG\." + _WORD + rb"{20,}\." + _WORD + rb"{40,}"),
    _pattern("databricks", "dapi", rb"\bdapi[0-9a-f]{32}\b"),
    _pattern("replicate", "r8_", rb"\br8_[A-Za-z0-9]{37}\b"),
    _pattern("docker", "dckr_pat_", rb"\bdckr_pat_" + _WORD + rb"{20,}"),
    _pattern("digitalocean", "dop_v1_ doo_v1_ dor_v1_", rb"\bdo[opr]_v1_[0-9a-f]{64}\b"),
    _pattern(
        "discord", "/api/webhooks/", rb"discord(?:app)?\.com/api/webhooks/(\d{17,20}/" + _WORD + rb"{40,})", group=1
    ),
    _pattern("kaggle", '"username"', rb"\"username\".*\"key\"\s*:\s*\"([0-9a-f]{32})\"", group=1),
    _pattern(
        "private-key", "private key", rb"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?:\\\\?[nr]|[A-Za-z0-9+/=]){64,}"
    ),
    _pattern("telegram", ":aa", rb"\b\d{8,10}:AA" + _WORD + rb"{33}\b"),
    _pattern("url-password", "://", rb"\b[a-z][a-z0-9+.-]*://[^\s/:@\"']*:([^\s/:@\"'{}<>$]{3,})@", group=1),
    _pattern(
        "assigned",
        "password passwd secret token api_key apikey api-key credential",
        rb"(?i)(?:password|passwd|secret|token|api[_-]?key|credential)s?[\"']?\s*[:=]\s*[\"']([A-Za-z0-9+/_=.-]{16,})[\"']",
        group=1,
        random_only=True,
    ),
    _pattern(
        # As YAML and shell files have it, to the end of the line; a name in a program has `_`, `.` or brackets.
        "assigned",
        "password passwd secret token api_key apikey api-key credential",
        rb"(?i)(?:password|passwd|secret|token|api[_-]?key|credential)s?\s*[:=]\s*([A-Za-z0-9+/]{20,}={0,2})\s*$",
        group=1,
        random_only=True,
    ),
)

_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----")
_KEY_BLOCK = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----\s(?:(?!-----)[\x20-\x7e\s]){0,20000}"
    rb"(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----)?"
)
_KEY_TEXT = re.compile(rb"[A-Za-z0-9+/=]{40,}")
_SECRET_KEY = re.compile(
    r"(?i)(?:^|[._-])(?:\w*(?:secret|passw(?:or)?d|passphrase|credential|(?:api|access|private|secret)[_-]?key)s?"
    r"|\w*secret[_-]\w*key|(?:\w*[_-])?token)$"
)
_KEY_VARIABLE = re.compile(r"(?:^|_)(?:KEY|PAT|AUTH)$")
_MODEL_TOKEN = re.compile(r"(?i)(?:^|[._-])(?:pad|eos|bos|unk|sep|cls|mask|stop|start|end|special)[_-]?token$")


@dataclass(frozen=True, slots=True)
class Scan:
    """What a file may be stored as.

    Attributes:
        content: the bytes with findings replaced; None when the file must be left out.
        findings: (line number from 1, pattern name) of each; never the value.
    """

    content: bytes | None
    findings: tuple[tuple[int, str], ...]


def is_secret_name(path: str) -> bool:
    """Whether an untracked file of this name is never stored."""
    name = path.rsplit("/", 1)[-1]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in SECRET_NAMES)


def scan(content: bytes) -> Scan:
    """The file without its secrets."""
    if b"\0" in content[:8000]:
        return Scan(content, ())
    lowered = content.lower()
    findings: list[tuple[int, str]] = []
    if b"private key" in lowered and (found := _PRIVATE_KEY.search(content)):
        if _is_key_file(content, found):
            return Scan(None, ((content.count(b"\n", 0, found.start()) + 1, "private-key"),))
        content, findings = _without_key_blocks(content)
        lowered = content.lower()
    active = [pattern for pattern in _PATTERNS if any(word in lowered for word in pattern.words)]
    if not active:
        return Scan(content, tuple(findings))
    lines = content.split(b"\n")
    for number in _lines_with(lowered, active):
        clean, names = _mask_line(lines[number], active)
        if names:
            lines[number] = clean
            findings += [(number + 1, name) for name in names]
    return Scan(b"\n".join(lines) if findings else content, tuple(findings))


def is_secret_key(key: str) -> bool:
    """Whether a parameter or variable of this name holds a secret by its name (`api_key`, not `max_tokens`)."""
    return bool(_SECRET_KEY.search(key)) and not _MODEL_TOKEN.search(key)


class Masker:
    """Replaces known secret values: those of environment variables that are secret by name, 8 characters or more.

    The values are kept in memory only.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._values = sorted(
            {(value, key) for key, value in environment.items() if len(value) >= 8 and _is_secret(key, value)},
            key=lambda item: -len(item[0]),
        )

    def text(self, text: str) -> str:
        """The text with each known value replaced by `<secret:VARIABLE>`."""
        for value, key in self._values:
            if value in text:
                text = text.replace(value, f"<secret:{key}>")
        return text

    def content(self, content: bytes) -> bytes:
        """The same for bytes."""
        for value, key in self._values:
            raw = value.encode("utf-8", "surrogateescape")
            if raw in content:
                content = content.replace(raw, f"<secret:{key}>".encode())
        return content

    def argv(self, words: Iterable[str]) -> list[str]:
        """A command with the values of secret options replaced: `--api-key X`, `token=X`, and known values."""
        masked: list[str] = []
        secret_next = False
        for word in words:
            key, equals, value = word.partition("=")
            if secret_next and not word.startswith("-"):
                masked.append("<secret:argument>")
            elif equals and value and is_secret_key(key.lstrip("-")):
                masked.append(f"{key}=<secret:argument>")
            else:
                masked.append(self.text(_hide_url_password(word)))
            secret_next = word.startswith("-") and not equals and is_secret_key(word.lstrip("-"))
        return masked

    def config(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Config with secret texts replaced; numbers stay, whatever their key."""
        return {key: self._config_value(key, value) for key, value in values.items()}

    def inside(self, value: Any) -> Any:
        """Any JSON value with each known secret in a text of it replaced."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.inside(item) for key, item in value.items()}
        return [self.inside(item) for item in value] if isinstance(value, list) else value

    def _config_value(self, key: str, value: Any) -> Any:
        if isinstance(value, str):
            return f"<secret:{key}>" if value and is_secret_key(key) else self.text(_hide_url_password(value))
        if isinstance(value, list):
            return [self._config_value(key, item) for item in value]
        return value


def _hide_url_password(text: str) -> str:
    if "://" not in text or "@" not in text:
        return text
    return re.sub(r"(://[^\s/:@]*:)[^\s/@]+@", r"\1<secret:url>@", text)


def _is_secret(variable: str, value: str) -> bool:
    """Whether an environment variable holds a secret: by its name, or it is called a key and looks like one."""
    if is_secret_key(variable):
        return True
    return len(value) >= 16 and bool(_KEY_VARIABLE.search(variable)) and _looks_random(value.encode("utf-8", "replace"))


def _is_key_file(content: bytes, found: re.Match[bytes]) -> bool:
    """A file with a key block in it that starts its line, not a program that has or looks for one."""
    start = content.rfind(b"\n", 0, found.start()) + 1
    return not content[start : found.start()].strip() and bool(
        _KEY_TEXT.search(content, found.end(), found.end() + 400)
    )


def _without_key_blocks(content: bytes) -> tuple[bytes, list[tuple[int, str]]]:
    """The file with each key block inside its text replaced, lines and all."""
    findings: list[tuple[int, str]] = []

    def replaced(found: re.Match[bytes]) -> bytes:
        if not _KEY_TEXT.search(found[0]):
            return found[0]
        findings.append((content.count(b"\n", 0, found.start()) + 1, "private-key"))
        return b"<secret:private-key>"

    return _KEY_BLOCK.sub(replaced, content), findings


def _lines_with(lowered: bytes, patterns: list[_Pattern]) -> list[int]:
    """Numbers of the lines that hold a key word of one of the patterns, ascending."""
    starts: set[int] = set()
    for word in {word for pattern in patterns for word in pattern.words}:
        at = lowered.find(word)
        while at >= 0:
            starts.add(lowered.rfind(b"\n", 0, at) + 1)
            end = lowered.find(b"\n", at)
            if end < 0:
                break
            at = lowered.find(word, end)
    numbers: list[int] = []
    line, position = 0, 0
    for start in sorted(starts):
        line += lowered.count(b"\n", position, start)
        position = start
        numbers.append(line)
    return numbers


def _mask_line(line: bytes, patterns: list[_Pattern]) -> tuple[bytes, list[str]]:
    if ALLOW in line:
        return line, []
    if len(line) > LONG_LINE:
        return _mask_long_line(line, patterns)
    names: list[str] = []
    for pattern in patterns:
        for found in reversed(list(pattern.regex.finditer(line))):
            value = found.group(pattern.group)
            if pattern.random_only and not _looks_random(value):
                continue
            start, end = found.span(pattern.group)
            line = line[:start] + f"<secret:{pattern.name}>".encode() + line[end:]
            names.append(pattern.name)
    return line, names


def _mask_long_line(line: bytes, patterns: list[_Pattern]) -> tuple[bytes, list[str]]:
    """The same for a line without ends, of minified or generated text: only around its key words."""
    lowered = line.lower()
    places = sorted(
        {found.start() for word in {word for one in patterns for word in one.words} for found in _all(word, lowered)}
    )
    pieces: list[bytes] = []
    names: list[str] = []
    done = 0
    for place in places:
        if place < done:
            continue
        start, end = max(done, place - 200), place + 1_800
        masked, found = _mask_line(line[start:end], patterns)
        pieces += [line[done:start], masked]
        names += found
        done = end
    return b"".join([*pieces, line[done:]]), names


def _all(word: bytes, lowered: bytes) -> Iterator[re.Match[bytes]]:
    return re.finditer(re.escape(word), lowered)


def _looks_random(value: bytes) -> bool:
    """Letters and digits in no order of a language: at least 3.3 bits a character and two kinds of characters."""
    text = value.decode("ascii", "replace")
    kinds = sum((any(c.islower() for c in text), any(c.isupper() for c in text), any(c.isdigit() for c in text)))
    if kinds < 2 or not any(c.isdigit() for c in text):
        return False
    counts = Counter(text)
    entropy = -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    return entropy >= 3.3
