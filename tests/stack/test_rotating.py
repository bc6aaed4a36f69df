"""The mask key of 10,000 rows is rotated as docs/ANALYSIS.md says, while a function runs."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from function import Function, running
from shell import Shell

from stack import deploy
from stack.settings import Settings

ROWS = 10_000
ADDRESS = "198.51.100.99"
OF_NEW_KEY = "masked_ip LIKE '2026.%' AND masked_device_id LIKE '2026.%'"


def login(ip: str) -> str:
    user = {"user_id": "u", "device_id": "d", "device_type": "ios", "locale": "FR", "app_version": "2.3.0"}
    return json.dumps(user | {"ip": ip})


@pytest.fixture
def rotating(settings: Settings, shell: Shell) -> Iterator[Shell]:
    """Many rows of the old key, which a function reads again for each batch."""
    mapping = shell.folder / "pipeline.toml"
    mapping.write_text(mapping.read_text().replace("hmac-sha256", "aes-siv"))
    shell.store("user_logins", login(ADDRESS))
    copied = "user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date"
    rows = f"gen_random_uuid(), {copied} FROM user_logins, generate_series(2, {ROWS})"
    shell.sql(f"INSERT INTO user_logins SELECT {rows}")
    secrets = deploy.client(settings, "secretsmanager")
    secret = json.dumps({"mask_key": shell.env["MASK_KEY"]}, indent=1)
    name = secrets.create_secret(Name=shell.folder.name, SecretString=secret)["Name"]
    own = {"MASK_SECRET_ID": name, "MASK_KEY": "", "SECRET_TTL_SECS": "0"}
    yield replace(shell, env=shell.env | settings.aws_env() | own)
    secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


@pytest.fixture
def function(settings: Settings, rotating: Shell) -> Iterator[Function]:
    with running(settings, rotating) as function:
        yield function


def test_the_mask_key_is_rotated_by_the_steps_of_the_page_while_a_function_runs(
    settings: Settings, rotating: Shell, function: Function
) -> None:
    def count(condition: str = "true") -> int:
        return int(rotating.sql(f"SELECT count(*) FROM user_logins WHERE {condition}")[0])

    text = (settings.root / "docs" / "ANALYSIS.md").read_text().partition("\n## Rotating the mask key\n")[2]
    blocks = re.findall(r"^ +```sh\n(.*?)^ +```$", text.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    steps = [re.sub(r"^ {3}", "", block, flags=re.MULTILINE) for block in blocks]
    keep = "declare -p old new > keys\n"
    add, switch, remask, check, remove = steps
    rotating.output(f"{add}{keep}")
    function.store(login("192.0.2.1"))
    assert count(OF_NEW_KEY) == 0
    rotating.output(f". ./keys\n{switch}")
    function.store(login("192.0.2.2"))
    assert count(OF_NEW_KEY) == 1
    said = rotating.output(remask)
    assert f"would re-encrypt {ROWS + 1} of {ROWS + 2} rows" in said
    assert count(OF_NEW_KEY) == count() == ROWS + 2
    checked = rotating.output(check)
    assert 'of key "2026"' in checked
    assert 'of key ""' not in checked
    assert "ready: 0 failures" in rotating.output(f". ./keys\n{remove}")
    function.store(login("192.0.2.3"))
    tokens = "psql \"$DATABASE_URL\" -Atc 'SELECT masked_ip FROM user_logins' | sqs-to-postgres unmask"
    values = rotating.output(f"{tokens} | sort | uniq -c").split()
    assert values == ["1", "192.0.2.1", "1", "192.0.2.2", "1", "192.0.2.3", str(ROWS), ADDRESS]
    assert ADDRESS not in said + checked
