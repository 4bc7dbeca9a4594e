"""Invented secrets in code, argv, environment, config and output: none is in the store, and no alarm is false."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dstui_store import Masker, RunRecord, Store
from dstui_store.secrets import is_secret_key, scan
from tests.safety.canaries import Canary, canaries
from tests.store.ended_runs import committed_run
from tests.store.git_projects import commit_all, store_git, stored_files, write_files

if TYPE_CHECKING:
    from tests.conftest import DsCommand


def bytes_of(store: Store) -> bytes:
    """Every object of the store and every file beside them, decompressed."""
    found = [store_git(store, "cat-file", "--batch-all-objects", "--batch", "--unordered")]
    files = [path for path in store.layout.root.rglob("*") if path.is_file() and "objects" not in path.parts]
    found += [path.read_bytes() for path in files]
    return b"\0".join(found)


def leaked(store: Store, secrets: list[Canary]) -> list[str]:
    """Names of the canaries that can be found in the store; of a key of many lines, any of them."""
    whole = bytes_of(store)
    logs = b"\0".join(store.log(record.id) for record in store.records())
    found = []
    for secret in secrets:
        parts = [part for part in re.split(r"\\n|\n", secret.value) if len(part) >= 12 and "-----" not in part]
        if any(part.encode() in whole or part.encode() in logs for part in parts or [secret.value]):
            found.append(secret.name)
    return found


@pytest.fixture
def store(project: Path) -> Iterator[Store]:
    with Store.open(project, create=True) as opened:
        yield opened


@pytest.mark.parametrize("seed", [11, 12, 13])
@pytest.mark.parametrize("how", ["new", "tracked", "edited", "no git"])
def test_no_secret_in_a_file_reaches_the_store(project: Path, tmp_path: Path, how: str, seed: int) -> None:
    secrets = canaries(seed)
    assert len(secrets) >= 30
    folder = project if how != "no git" else tmp_path / "plain"
    files = {
        f"{number:02}/{secret.path}": f"first line\n{secret.text}\nlast line\n" for number, secret in enumerate(secrets)
    }
    if how == "edited":
        write_files(folder, dict.fromkeys(files, "before\n"))
        commit_all(folder)
    write_files(folder, files)
    if how == "tracked":
        commit_all(folder)
    with Store.open(folder, create=True) as store:
        record = committed_run(store, store.snapshot())
        assert leaked(store, secrets) == []
        # All are named, and none by its value.
        skipped = store.skipped(record.id)
        assert {item["path"] for item in skipped} == set(files)
        assert not any(secret.value in str(skipped) for secret in secrets)
        # What is around them is kept, but of files that are keys themselves.
        stored = stored_files(store, store.code_tree(record.id))
        kept = [path for path in files if stored.get(path.encode(), ("", b""))[1].startswith(b"first line\n")]
        assert len(kept) == len(files) - 3
        assert all(stored[path.encode()][1].endswith(b"\nlast line\n") for path in kept)


def test_a_key_inside_a_program_is_masked_and_the_program_is_kept(store: Store) -> None:
    key = next(secret for secret in canaries(5) if secret.name == "rsa key").value
    for quote in ('"""', "'''"):
        write_files(store.layout.project, {"train.py": f"before = 1\nKEY = {quote}{key}\n{quote}\nafter = 2\n"})
        record = committed_run(store, store.snapshot())
        (_, content) = stored_files(store, store.code_tree(record.id))[b"train.py"]
        assert content == f"before = 1\nKEY = {quote}<secret:private-key>\n{quote}\nafter = 2\n".encode()
    assert not any(line.encode() in bytes_of(store) for line in key.splitlines()[1:-1])


ENVIRONMENT = (
    "OPENAI_API_KEY WANDB_API_KEY AWS_SECRET_ACCESS_KEY HF_TOKEN GITHUB_TOKEN DB_PASSWORD MY_SECRET GOOGLE_CREDENTIALS "
    "PGPASSWORD SSH_PASSPHRASE NEPTUNE_API_TOKEN KAGGLE_KEY GH_PAT COMET_APIKEY SECRET_KEY"
).split()


def environment_secrets() -> dict[str, str]:
    values = [secret.value for secret in canaries(21) if "\n" not in secret.value and len(secret.value) < 120]
    return dict(zip(ENVIRONMENT, values, strict=False))


SCRIPT = """
import os, sys
import dstui
for name, value in sorted(os.environ.items()):
    print(name, "is", value)
    print("inside=" + value + "&more", file=sys.stderr)
run = dstui.init(config={"endpoint": "https://x/?t=" + os.environ["HF_TOKEN"], "api_key": os.environ["OPENAI_API_KEY"]})
dstui.log({"loss": 0.5}, step=1)
print("done")
"""


@pytest.mark.slow
def test_no_secret_of_argv_environment_config_or_output_reaches_the_store(project: Path, ds: DsCommand) -> None:
    secrets = environment_secrets()
    assert len(secrets) == len(ENVIRONMENT)
    write_files(project, {"leak.py": SCRIPT})
    typed = next(secret for secret in canaries(22) if secret.name == "comet").value
    url = "s3://me:" + next(secret for secret in canaries(22) if secret.name == "database url").value + "@host/x"
    result = ds(
        *(
            "run",
            "-p",
            f"secret={typed}",
            "-p",
            f"note={secrets['MY_SECRET']}",
            "--note",
            f"with {secrets['DB_PASSWORD']}",
        ),
        *("python", "leak.py", "--api-key", typed, f"--token={typed}", "--url", url, f"--value={secrets['HF_TOKEN']}"),
        "--lr=0.1",
        env=secrets,
    )
    assert result.code == 0, result.err
    with Store.open(project) as store:
        (record,) = store.records()
        named = [Canary(name, "", "", value) for name, value in secrets.items()]
        assert (
            leaked(
                store, [*named, Canary("typed", "", "", typed), Canary("url", "", "", url.split(":")[2].split("@")[0])]
            )
            == []
        )
        # The run works, and what is no secret is there.
        assert record.state == "finished"
        assert record.summary["loss"].last == 0.5
        log = store.log(record.id)
        assert b"HF_TOKEN is <secret:HF_TOKEN>" in log
        assert b"inside=<secret:DB_PASSWORD>&more" in log
        assert b"done" in log
        assert "--lr=0.1" in record.command
        assert "--api-key" in record.command


def test_known_values_are_masked_wherever_they_stand() -> None:
    secrets = environment_secrets()
    masker = Masker({**secrets, "PATH": "/usr/bin", "HOME": "/home/someone", "SHORT_TOKEN": "abc"})
    for name, value in secrets.items():
        assert masker.text(f"x{value}y") == f"x<secret:{name}>y"
        assert masker.content(f"x{value}y".encode()) == f"x<secret:{name}>y".encode()
        assert masker.argv([f"--x={value}", value]) == [f"--x=<secret:{name}>", f"<secret:{name}>"]
    assert masker.text("/usr/bin abc /home/someone") == "/usr/bin abc /home/someone"


@pytest.mark.parametrize(
    ("words", "masked"),
    [
        (["--api-key", "abc", "x"], ["--api-key", "<secret:argument>", "x"]),
        (["--api_key=abc"], ["--api_key=<secret:argument>"]),
        (["password=abc"], ["password=<secret:argument>"]),
        (["--hf-token", "abc"], ["--hf-token", "<secret:argument>"]),
        (["--token", "--lr", "0.1"], ["--token", "--lr", "0.1"]),
        (["model.secret=abc"], ["model.secret=<secret:argument>"]),
        (["--max-tokens", "4096"], ["--max-tokens", "4096"]),
        (["--pad-token", "<pad>"], ["--pad-token", "<pad>"]),
        (["--tokenizer", "gpt2"], ["--tokenizer", "gpt2"]),
        (["--url", "https://a:b@c/d"], ["--url", "https://a:<secret:url>@c/d"]),
        (["https://c/d?x=1@2"], ["https://c/d?x=1@2"]),
        (["token="], ["token="]),
    ],
)
def test_argv_is_masked_by_the_names_of_options(words: list[str], masked: list[str]) -> None:
    assert Masker({}).argv(words) == masked


@pytest.mark.parametrize(
    "key",
    [
        "api_key",
        "API-KEY",
        "openai.api_key",
        "password",
        "db_passwd",
        "client_secret",
        "token",
        "hf_token",
        "auth-token",
        "credentials",
        "AWS_SECRET_ACCESS_KEY",
        "secret_key",
        "private_key",
        "passphrase",
    ],
)
def test_names_of_secrets_are_known(key: str) -> None:
    assert is_secret_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "max_tokens",
        "tokens",
        "n_tokens",
        "tokenizer",
        "tokenizer_name",
        "pad_token",
        "eos_token",
        "mask-token",
        "special_token",
        "key",
        "primary_key",
        "keys",
        "secretary",
        "lr",
        "token_dim",
        "password_length",
        "num_secrets_seen",
        "monkey",
    ],
)
def test_names_of_other_things_are_not_taken_for_them(key: str) -> None:
    assert not is_secret_key(key)


ORDINARY = """
tokenizer = AutoTokenizer.from_pretrained("bert-base-uncased", use_fast=True)
tokenizer.pad_token = tokenizer.eos_token
inputs = tokenizer(texts, max_length=512, truncation=True, return_tensors="pt")
max_tokens = 4096
pad_token = "<|endoftext|>"
special_tokens_dict = {"additional_special_tokens": ["<image>", "<video>"]}
token = next(stream)
token_embedding_size = 1024
next_token_logits = outputs.logits[:, -1, :]
secret = getpass.getpass("Password: ")
password = os.environ["DB_PASSWORD"]
api_key = os.getenv("OPENAI_API_KEY")
api_key: str = Field(default=..., description="The API key of the service")
parser.add_argument("--api-key", help="key of the service", default=None)
def check_password(password: str) -> bool: return hmac.compare_digest(hash_of(password), stored)
if "token" in config and config["token"] == "none": raise ValueError("token missing")
credentials = service_account.Credentials.from_service_account_file(path)
hash = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    {file = "numpy-1.26.4.whl", hash = "sha256:666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5"},
"integrity": "sha512-Sgb2bBeLDsOXPMoKqKCYJvdHoYQkoc6Bq7iGCnWl5w2s8fEoKQFfxhvMRN2cbuHmHm9pxGH8YhNPHxPPzTjvzg==",
resolved "https://registry.yarnpkg.com/abbrev/-/abbrev-1.1.1.tgz#f8f2c887ad10bf67f634f005b6987fed3179aac8"
git+https://github.com/huggingface/transformers.git@4bdbdb4f2a8c7c0ec5ba5d6e4e7a0d7a9a8f8c1e
commit = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
MODEL_REVISION = "e8f4f3b1ab12cd34ef56ab78cd90ef12ab34cd56"
wandb.init(project="resnet", name="run-2024-01-01")
wandb_project: image-classification
WANDB_MODE=offline
checkpoint = "outputs/2024-01-01/epoch=12-val_loss=0.1234.ckpt"
url = "https://user:pass@host/path"
dsn = f"postgresql://{user}:{password}@{host}:{port}/{name}"
broker = "amqp://guest:${RABBIT_PASSWORD}@localhost"
"image": "data:image/png;base64,AAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAA=",
print("-----BEGIN PUBLIC KEY-----")
if line.startswith("-----BEGIN RSA PRIVATE KEY-----"): raise ValueError("keys do not belong here")
sk-learn-contrib is not a key, nor is task-abcdefghijklmnopqrstuvwxyz
ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC7 someone@example.org
uuid = "123e4567-e89b-12d3-a456-426614174000"
run_id = "k3f9c0d1e2f3a4b5"
""".strip().splitlines()


def test_ten_thousand_ordinary_lines_raise_no_alarm() -> None:
    lines = list(ORDINARY)
    library = Path(sysconfig.get_paths()["stdlib"])
    for name in (
        "tokenize",
        "secrets",
        "getpass",
        "hashlib",
        "hmac",
        "netrc",
        "ssl",
        "imaplib",
        "smtplib",
        "token",
        "argparse",
    ):
        lines += (library / f"{name}.py").read_text().splitlines()
    for name in ("urllib/request", "http/client", "email/message", "lib2to3/pgen2/tokenize", "asyncio/sslproto"):
        path = library / f"{name}.py"
        lines += path.read_text().splitlines() if path.exists() else []
    assert len(lines) > 10_000
    found = scan("\n".join(lines).encode())
    # A password in an example that is called one is masked: nobody can tell it from a real one.
    alarms = [(lines[number - 1], name) for number, name in found.findings if "://user:pass@" not in lines[number - 1]]
    assert alarms == []


def test_a_line_says_that_it_may_be_kept() -> None:
    text = next(secret for secret in canaries(3) if secret.name == "github").text
    assert scan(f"{text}  # ds:allow-secret\n".encode()).findings == ()
    assert len(scan(f"{text}\n".encode()).findings) == 1


def test_findings_name_line_and_pattern_and_never_the_value() -> None:
    for secret in canaries(11):
        found = scan(f"\n\n{secret.text}\n".encode())
        assert found.findings, secret.name
        assert all(secret.value not in name for _, name in found.findings)
        if "\n" not in secret.text:
            assert {line for line, _ in found.findings} == {3}


def test_a_run_reads_the_same_when_nothing_of_it_is_secret(store: Store) -> None:
    record: RunRecord = committed_run(
        store, log=b"loss=1 token=7 password ok\n", config={"max_tokens": 7, "tokenizer": "gpt2"}
    )
    assert store.log(record.id) == b"loss=1 token=7 password ok\n"
    assert store.config(record.id) == {"max_tokens": 7, "tokenizer": "gpt2"}


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "content",
    [
        b"a" * 3_000_000 + b"://",
        b"token" * 600_000,
        b"sk-" * 1_000_000,
        b"eyJ" + b"A" * 2_000_000 + b".eyJ",
        b'token = "' + b"A" * 2_000_000,
        (b"-----BEGIN RSA PRIVATE KEY-----\n" + b"A" * 64 + b"\n") * 20_000,
        b"x = '-----BEGIN PRIVATE KEY-----\\n" * 50_000,
        b'"username"' * 300_000,
        b"\n".join(b"password = 'aaaaaaaaaaaaaaaaaaaaaaaaaaaa'" for _ in range(50_000)),
    ],
    ids=lambda content: content[:12].decode(),
)
def test_no_file_takes_the_scan_long(content: bytes) -> None:
    found = scan(content)
    assert found.content is None or len(found.content) <= len(content) * 2
