"""A person is erased as docs/ANALYSIS.md says, from 10,000 rows and dead letters, while a function runs."""

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


def login(ip: str) -> str:
    user = {"user_id": "u", "device_id": "d", "device_type": "ios", "locale": "FR", "app_version": "2.3.0"}
    return json.dumps(user | {"ip": ip})


@pytest.fixture
def queues(settings: Settings, shell: Shell) -> Iterator[tuple[str, str]]:
    sqs = deploy.client(settings, "sqs")
    dead = sqs.create_queue(QueueName=f"{shell.folder.name}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = {"RedrivePolicy": json.dumps({"maxReceiveCount": 5, "deadLetterTargetArn": arn})}
    queue = sqs.create_queue(QueueName=shell.folder.name, Attributes=policy)["QueueUrl"]
    yield queue, dead
    for url in (queue, dead):
        sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def eraser(settings: Settings, shell: Shell, queues: tuple[str, str]) -> Shell:
    """Many rows, four of them of the person."""
    shell = replace(shell, env=shell.env | settings.aws_env() | {"QUEUE_URL": queues[0]})
    shell.store("user_logins", f"{login(ADDRESS)}\n{login('192.0.2.1')}\n")
    others = "user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date"
    copy = f"gen_random_uuid(), {others}"
    mine = "masked_ip = (SELECT masked_ip FROM user_logins ORDER BY ctid LIMIT 1)"
    shell.sql(f"INSERT INTO user_logins SELECT {copy} FROM user_logins, generate_series(1, 3) WHERE {mine}")
    shell.sql(
        f"INSERT INTO user_logins SELECT {copy} FROM user_logins, generate_series(1, {ROWS}) WHERE NOT {mine}"
    )
    return shell


@pytest.fixture
def function(settings: Settings, eraser: Shell) -> Iterator[Function]:
    with running(settings, eraser) as function:
        yield function


def test_a_person_is_erased_by_the_steps_of_the_page_while_a_function_runs(
    settings: Settings, eraser: Shell, function: Function, queues: tuple[str, str]
) -> None:
    sqs = deploy.client(settings, "sqs")
    _, dead = queues
    for body in (login(ADDRESS), login("192.0.2.1"), json.dumps({"ip": ADDRESS})):
        sqs.send_message(QueueUrl=dead, MessageBody=body)
    text = (settings.root / "docs" / "ANALYSIS.md").read_text().partition("\n## Erasing a person\n")[2]
    blocks = re.findall(r"^ +```sh\n(.*?)^ +```$", text.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    look, erase, again = blocks
    before = int(eraser.sql("SELECT count(*) FROM user_logins")[0])
    function.store(login("192.0.2.2"))
    looked = eraser.output(look, f"{ADDRESS}\n")
    assert "would delete 4 rows and 2 dead letters" in looked
    said = eraser.output(f"{look}\n{erase}\n{again}", f"{ADDRESS}\n")
    assert "deleted 0 rows and 0 dead letters" in said
    receipt = json.loads((eraser.folder / "receipt.json").read_text())
    assert [table["deleted"] for table in receipt["tables"]] == [4]
    assert receipt["dead_letters"]["deleted"] == 2
    assert receipt["left"] == []
    assert ADDRESS not in looked + said + json.dumps(receipt)
    function.store(login("192.0.2.3"))
    assert eraser.sql("SELECT count(*) FROM user_logins") == [str(before - 4 + 2)]
