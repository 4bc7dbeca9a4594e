"""Invented secrets in the forms that real ones have; made anew by every test, so that none stands in a file."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass

LETTERS = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits


@dataclass(frozen=True)
class Canary:
    """One secret and a line that a person would write it in.

    Attributes:
        path: the kind of file that the line would stand in.
        line: text around the secret, which stands in it as `{}`.
        value: what must never be stored.
    """

    name: str
    path: str
    line: str
    value: str

    @property
    def text(self) -> str:
        """The line with the secret in it."""
        return self.line.replace("{}", self.value)


def canaries(seed: int) -> list[Canary]:
    """The same canaries for the same seed."""
    chance = random.Random(seed)

    def of(alphabet: str, length: int) -> str:
        return "".join(chance.choice(alphabet) for _ in range(length))

    def letters(length: int) -> Callable[[], str]:
        return lambda: of(LETTERS, length)

    def encoded(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    def key_block(kind: str) -> str:
        lines = [of(LETTERS + "+/", 64) for _ in range(6)]
        return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----"])

    forms: list[tuple[str, str, str, Callable[[], str]]] = [
        ("aws id", "train.py", "aws_access_key_id = '{}'", lambda: "AKIA" + of(UPPER, 16)),
        ("aws secret", "deploy.ini", "aws_secret_access_key = {}", letters(40)),
        (
            "github",
            "push.sh",
            "curl -H 'Authorization: token {}' https://api.github.com",
            lambda: "ghp_" + of(LETTERS, 36),
        ),
        ("github fine", "ci.yml", "  GH: {}", lambda: "github_pat_" + of(LETTERS, 22) + "_" + of(LETTERS, 59)),
        ("gitlab", "ci.yml", "token: {}", lambda: "glpat-" + of(LETTERS, 20)),
        ("hugging face", "train.py", 'login("{}")', lambda: "hf_" + of(string.ascii_letters, 34)),
        ("openai", "train.py", "client = OpenAI(api_key='{}')", lambda: "sk-proj-" + of(LETTERS, 48)),
        ("anthropic", "conf.yaml", "anthropic: {}", lambda: "sk-ant-api03-" + of(LETTERS + "-_", 90) + "AA"),
        ("wandb", "train.py", 'wandb.login(key="{}")', lambda: of(HEX, 40)),
        ("wandb yaml", "conf.yaml", "wandb_api_key: {}", lambda: of(HEX, 40)),
        ("google", "maps.js", "const key = '{}';", lambda: "AIza" + of(LETTERS + "-_", 35)),
        ("slack", "notify.py", "Slack(token='{}')", lambda: f"xoxb-{of('0123456789', 12)}-{of(LETTERS, 24)}"),
        (
            "slack hook",
            "notify.py",
            "post('https://hooks.slack.com/services/{}')",
            lambda: f"T{of(UPPER, 8)}/B{of(UPPER, 8)}/{of(LETTERS, 24)}",
        ),
        (
            "discord hook",
            "notify.py",
            "post('https://discord.com/api/webhooks/{}')",
            lambda: f"{of('123456789', 18)}/{of(LETTERS + '-_', 68)}",
        ),
        ("stripe", "pay.py", "stripe.api_key = '{}'", lambda: "sk_live_" + of(LETTERS, 24)),
        ("npm", "npmrc", "//registry.npmjs.org/:_authToken={}", lambda: "npm_" + of(LETTERS, 36)),
        ("pypi", "pypirc", "password = {}", lambda: "pypi-AgEIcHlwaS5vcmc" + of(LETTERS + "-_", 120)),
        (
            "jwt",
            "test.http",
            "Authorization: Bearer {}",
            lambda: ".".join(
                (encoded({"alg": "HS256", "typ": "JWT"}), encoded({"sub": of(LETTERS, 12)}), of(LETTERS + "-_", 43))
            ),
        ),
        (
            "azure storage",
            "data.py",
            'AzureML("DefaultEndpointsProtocol=https;AccountName=x;AccountKey={};EndpointSuffix=core")',
            lambda: of(LETTERS + "+/", 86) + "==",
        ),
        ("sendgrid", "mail.py", "SendGrid('{}')", lambda: f"SG.{of(LETTERS, 22)}.{of(LETTERS, 43)}"),
        ("databricks", "spark.cfg", "token = {}", lambda: "dapi" + of(HEX, 32)),
        ("replicate", "run.sh", "export REPLICATE={}", lambda: "r8_" + of(LETTERS, 37)),
        ("telegram", "bot.py", "Bot('{}')", lambda: f"{of('123456789', 10)}:AA{of(LETTERS, 33)}"),
        ("database url", "db.py", "engine = create_engine('postgresql://me:{}@db.example.org:5432/x')", letters(14)),
        ("redis url", "conf.yaml", "broker: redis://:{}@10.0.0.7:6379/0", letters(20)),
        ("docker", "build.sh", "docker login -u me -p {}", lambda: "dckr_pat_" + of(LETTERS, 27)),
        ("digital ocean", "tf.vars", 'do = "{}"', lambda: "dop_v1_" + of(HEX, 64)),
        ("generic password", "train.py", 'PASSWORD = "{}"', letters(20)),
        ("generic key", "conf.json", '  "api_key": "{}",', letters(32)),
        ("generic yaml", "conf.yaml", "client_secret: {}", letters(32)),
        ("generic env", "settings.env.sample", "MY_SERVICE_TOKEN={}", letters(40)),
        (
            "neptune",
            "train.py",
            'neptune.init_run(api_token="{}")',
            lambda: encoded({"api_address": "https://app.neptune.ai", "api_key": of(HEX, 36)}) + "==",
        ),
        ("comet", "train.py", 'Experiment(api_key="{}", project_name="x")', letters(25)),
        ("kaggle", "kaggle-backup.json", '{"username":"me","key":"{}"}', lambda: of(HEX, 32)),
        ("twilio", "sms.py", "Client('AC0', auth_token='{}')", lambda: of(HEX, 32)),
        ("minified", "bundle.js", "x=1;" * 30_000 + "token='{}';" + "y=2;" * 100, lambda: "ghp_" + of(LETTERS, 36)),
        ("rsa key", "deploy_key", "{}", lambda: key_block("RSA PRIVATE KEY")),
        ("openssh key", "deploy_key2", "{}", lambda: key_block("OPENSSH PRIVATE KEY")),
        ("ec key", "notes.txt", "my key:\n{}", lambda: key_block("EC PRIVATE KEY")),
        (
            "service account",
            "service.json",
            '{"type": "service_account", "private_key": "{}"}',
            lambda: key_block("PRIVATE KEY").replace("\n", "\\n"),
        ),
    ]
    return [Canary(name, path, line, make()) for name, path, line, make in forms]
