"""The pages for analysts and for those who migrate from an older script work: each of their blocks
runs, with the real command-line tool, on a database of its own."""

import base64
import hashlib
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from shell import Shell

from stack import run
from stack.settings import Settings

OLD_KEY = bytes(range(32))
ADDRESSES = ["198.51.100.99", "2001:db8::98e0", "203.0.113.32"]


def blocks(page: str, language: str) -> list[str]:
    text = (Settings.of_repo().root / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def block(page: str, language: str, word: str) -> str:
    """The only block with this word in it."""
    [found] = [text for text in blocks(page, language) if word in text]
    return found


@pytest.fixture
def analysis(settings: Settings, shell: Shell) -> Shell:
    """The table of logins, and the payments of two of their addresses."""
    shell.store("user_logins", (settings.root / run.MESSAGES).read_text())
    (shell.folder / "payments.toml").write_text(block("ANALYSIS.md", "toml", "payments"))
    payments = [{"client": {"ip": ip}, "amount": amount} for amount, ip in enumerate(ADDRESSES)]
    lines = "\n".join(map(json.dumps, payments))
    shell.store("payments", lines, PIPELINE_FILE="payments.toml")
    return shell


def test_each_assumption_about_aws_has_a_source_a_consequence_and_a_way_to_see_it(settings: Settings) -> None:
    lines = (settings.root / "docs" / "UNVERIFIED.md").read_text().splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")]
    assumptions = [row for row in rows if row[0].strip() != "assumed"]
    assert len(assumptions) > 20
    for row in assumptions:
        assert len(row) == 4, row
        assert "](https://" in row[1], row
        assert all(cell.strip() for cell in row), row


def test_every_query_for_analysts_finds_something(analysis: Shell) -> None:
    queries = blocks("ANALYSIS.md", "sql")
    assert len(queries) >= 7
    for query in queries:
        assert analysis.sql(query) or query.startswith("CREATE INDEX"), query


def test_tokens_join_across_tables_of_one_key(analysis: Shell) -> None:
    joined = analysis.sql(block("ANALYSIS.md", "sql", "JOIN user_logins AS l USING"))
    assert len(joined) == len(ADDRESSES)
    assert analysis.sql(block("ANALYSIS.md", "sql", "in_both")) == ["3|3"]


def test_a_plain_hash_is_guessed(analysis: Shell) -> None:
    assert analysis.sql(block("ANALYSIS.md", "sql", "guesses")) == ["198.51.100.7"]


def test_a_person_is_looked_up_without_unmasking(analysis: Shell, settings: Settings) -> None:
    lines = (settings.root / run.MESSAGES).read_text().splitlines()
    logins = [line for line in lines if f'"{ADDRESSES[0]}"' in line]
    found = analysis.output(block("ANALYSIS.md", "sh", "read -rp"), f"{ADDRESSES[0]}\n")
    assert logins
    assert f"({len(logins)} row" in found


def aes_ecb(value: str) -> str:
    padder, encryptor = PKCS7(128).padder(), Cipher(algorithms.AES(OLD_KEY), modes.ECB()).encryptor()
    padded = padder.update(value.encode()) + padder.finalize()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


def in_base64(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


@pytest.fixture
def old(shell: Shell) -> Shell:
    """A table of an older script: no key, addresses in AES-ECB, devices in base64."""
    texts = "user_id varchar(128) NOT NULL, device_type varchar(32), locale varchar(32)"
    masked = "masked_ip varchar(256) NOT NULL, masked_device_id varchar(256) NOT NULL"
    shell.sql(f"CREATE TABLE user_logins ({texts}, {masked}, app_version integer, create_date date)")
    values = [*ADDRESSES, "é\\t\U0001f600 'x'", ADDRESSES[0]]
    tokens = [{"masked_ip": aes_ecb(value), "masked_device_id": in_base64(value)} for value in values]
    other = {
        "user_id": "u",
        "create_date": "2026-01-31",
        "device_type": None,
        "locale": None,
        "app_version": 1,
    }
    shell.insert("user_logins", [{**other, **row} for row in tokens])
    for word in ("aes_values.py", "base64_values.py"):
        (shell.folder / word).write_text(block("MIGRATING.md", "python", f"# {word}"))
    (shell.folder / "remask.sh").write_text(block("MIGRATING.md", "sh", "# remask.sh"))
    return shell


KEY = {"OLD_KEY": base64.b64encode(OLD_KEY).decode()}
REMASK = "bash remask.sh masked_ip aes_values.py"
BOTH = "SELECT masked_ip, masked_device_id FROM user_logins ORDER BY 1, 2"


def test_an_older_table_gets_new_tokens_and_a_key_and_works(old: Shell) -> None:
    said = old.output(block("MIGRATING.md", "sh", REMASK), **KEY)
    assert said.splitlines() == ["masked_ip: 4 tokens replaced", "masked_device_id: 4 tokens replaced"]
    tokens = old.output("sqs-to-postgres token --column masked_ip", "\n".join(ADDRESSES)).splitlines()
    rows = [row.split("|") for row in old.sql(BOTH)]
    assert len(rows) == 5
    assert all(ip == device and len(ip) == 64 for ip, device in rows)
    assert {ip: [row[0] for row in rows].count(ip) for ip in tokens} == dict(
        zip(tokens, [2, 1, 1], strict=True)
    )
    before = old.sql(BOTH)
    assert "0 tokens replaced" in old.output(block("MIGRATING.md", "sh", REMASK), **KEY)
    assert old.sql(BOTH) == before
    old.sql(block("MIGRATING.md", "sql", "PRIMARY KEY"))
    old.output('sqs-to-postgres ddl --diff | psql "$DATABASE_URL" -q -v ON_ERROR_STOP=1')
    assert "ready: 0 failures" in old.output(block("MIGRATING.md", "sh", "ddl --diff"))


@pytest.mark.parametrize("bad", ["no base64", in_base64("no AES"), aes_ecb("two\nlines"), aes_ecb("")])
def test_a_token_that_cannot_be_read_changes_nothing(old: Shell, bad: str) -> None:
    old.sql(f"UPDATE user_logins SET masked_ip = '{bad}' WHERE masked_ip = '{aes_ecb(ADDRESSES[1])}'")
    before = old.sql(BOTH)
    assert old.run(REMASK, **KEY).returncode != 0
    assert old.sql(BOTH) == before


def test_the_kind_of_a_token_is_recognised_by_its_pattern(old: Shell) -> None:
    kinds = {
        "sha256": hashlib.sha256(b"x").hexdigest(),
        "sha512": hashlib.sha512(b"x").hexdigest(),
        "base64": in_base64("198.51.100.7"),
        "something else": "198.51.100.7",
    }
    for token in kinds.values():
        old.sql(
            f"INSERT INTO user_logins (user_id, masked_ip, masked_device_id) VALUES ('u', '{token}', 'd')"
        )
    told = dict(row.split("|") for row in old.sql(block("MIGRATING.md", "sql", "AS kinds")))
    assert told == {**dict.fromkeys(kinds, "1"), "probably AES-ECB in base64": "5"}


def test_plain_hashes_stay_as_they_were(shell: Shell) -> None:
    (shell.folder / "pipeline.toml").write_text(block("MIGRATING.md", "toml", 'mask = "sha512"'))
    message = json.dumps({"ip": ADDRESSES[0], "device_id": "dev-é"})
    shell.store("user_logins", message)
    ip = hashlib.sha256(ADDRESSES[0].encode()).hexdigest()
    device = hashlib.sha512("dev-é".encode()).hexdigest()
    assert shell.sql(BOTH) == [f"{ip}|{device}"]
    assert "    1" in shell.output(block("MIGRATING.md", "sh", "sha256sum"))


@pytest.fixture(scope="session")
def drain_flags(tool: Path) -> set[str]:
    """The flags of `drain`."""
    asked = subprocess.run([tool / "sqs-to-postgres", "drain", "--help"], capture_output=True, text=True)
    return set(re.findall(r"^ +(--[a-z-]+)", asked.stdout, re.MULTILINE))


@pytest.mark.parametrize(("kind", "place"), [("Deployment", []), ("CronJob", ["jobTemplate", "spec"])])
def test_the_kubernetes_examples_start_drain_with_valid_options(
    kind: str, place: list[str], drain_flags: set[str]
) -> None:
    spec = yaml.safe_load(block("MIGRATING.md", "yaml", f"kind: {kind}"))["spec"]
    for step in place:
        spec = spec[step]
    [container] = spec["template"]["spec"]["containers"]
    command, *arguments = container["args"]
    assert (container["command"], command) == (["sqs-to-postgres"], "drain")
    assert {argument.partition("=")[0] for argument in arguments} <= drain_flags
    assert ("--follow" in arguments) == (kind == "Deployment")
    settings = (Settings.of_repo().root / "docs" / "CONFIGURATION.md").read_text()
    assert all(f"`{variable['name']}`" in settings for variable in container["env"])
    if kind == "CronJob":
        [rule] = spec["podFailurePolicy"]["rules"]
        assert rule["onExitCodes"]["values"] == [1, 2]
        assert rule["onExitCodes"]["containerName"] == container["name"]
        # Kubernetes accepts such a policy only with this one.
        assert spec["template"]["spec"]["restartPolicy"] == "Never"


class RetryError(Exception):
    """Airflow retries such a task."""


class FailError(Exception):
    """Airflow does not retry such a task."""


@pytest.mark.parametrize(
    ("code", "raised"), [(0, None), (1, None), (2, FailError), (3, RetryError), (101, FailError)]
)
def test_the_airflow_example_retries_what_may_succeed_later(
    code: int, raised: type[Exception] | None, drain_flags: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = block("MIGRATING.md", "python", "drain_logins.py")
    exceptions = {"AirflowException": RetryError, "AirflowFailException": FailError}
    undecorated = {name: lambda **_: lambda function: function for name in ("dag", "task")}
    for name, members in {"exceptions": exceptions, "sdk": undecorated}.items():
        module = types.ModuleType(f"airflow.{name}")
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "airflow", types.ModuleType("airflow"))
    commands: list[list[str]] = []

    def ended(command: list[str], check: bool) -> "subprocess.CompletedProcess[bytes]":
        commands.append(command)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(subprocess, "run", ended)
    if raised is None:
        exec(compile(source, "drain_logins.py", "exec"), {})
    else:
        with pytest.raises(raised):
            exec(compile(source, "drain_logins.py", "exec"), {})
    [[program, command, *arguments]] = commands
    assert (program, command) == ("sqs-to-postgres", "drain")
    assert {argument for argument in arguments if argument.startswith("--")} <= drain_flags
