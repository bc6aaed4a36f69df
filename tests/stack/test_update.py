"""An update of a deployed stack under traffic."""

import io
import json
import re
import stat
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from stack import deploy, postgres, run
from stack.deploy import Deployment, client, program
from stack.settings import PATIENCE_SECS, Settings
from stacks import GOOD, Stacks

MESSAGES_AT_ONCE = 50
PAUSE_SECS = 0.5
USER = "in-flight-at-update"
PARAMETERS = {"Profile": "try-out", "DeadLetters": "redrive"}
SLOWLY = f"""
CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END';
CREATE TRIGGER slowly BEFORE INSERT ON user_logins
    FOR EACH ROW WHEN (NEW.user_id = '{USER}') EXECUTE FUNCTION slowly();
"""
"""So that some are always not yet stored. A batch of 100 takes one of the five seconds of its function."""


@pytest.fixture
def slow_table(settings: Settings) -> Iterator[None]:
    postgres.query(settings, SLOWLY)
    yield
    postgres.query(settings, "DROP TRIGGER slowly ON user_logins; DROP FUNCTION slowly")
    postgres.query(settings, f"DELETE FROM user_logins WHERE user_id = '{USER}'")


def new_version(settings: Settings, packaged: str) -> str:
    """The template with another mapping, which writes `locale` in upper case, and with smaller batches."""
    function = program(settings, "bootstrap").read_bytes()
    mapping = (settings.root / "pipeline.toml").read_text()
    locale = 'name = "locale"\ntype = "varchar(32)"\n'
    assert locale in mapping
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("pipeline.toml", mapping.replace(locale, f'{locale}transform = ["uppercase"]\n'))
        executable = zipfile.ZipInfo("bootstrap")
        executable.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(executable, function, zipfile.ZIP_DEFLATED, compresslevel=1)
    client(settings, "s3").put_object(Bucket=deploy.ARTIFACTS_BUCKET, Key="new-version", Body=code.getvalue())
    new, codes = re.subn(
        r"CodeUri: s3://\S+", f"CodeUri: s3://{deploy.ARTIFACTS_BUCKET}/new-version", packaged
    )
    new, sizes = re.subn(r"BatchSize: 100\b", "BatchSize: 50", new)
    assert (codes, sizes) == (1, 2)
    return new


def stored(settings: Settings) -> dict[str, str]:
    """The messages that are rows, by their ids, with the spelling of their locale."""
    rows = postgres.query(settings, f"SELECT message_id, locale FROM user_logins WHERE user_id = '{USER}'")
    return dict(row.split("|") for row in rows.splitlines())


@contextmanager
def traffic(settings: Settings, deployment: Deployment) -> Iterator[list[str]]:
    """Sends messages continuously, and finally returns the ids of all of them."""
    ids: list[str] = []
    over = threading.Event()

    def send() -> None:
        while True:
            bodies = [json.dumps(GOOD | {"user_id": USER, "locale": "de"})] * MESSAGES_AT_ONCE
            ids.extend(run.send(settings, deployment, bodies))
            if over.wait(PAUSE_SECS):
                return

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        try:
            yield ids
        finally:
            over.set()
        sending.result()


@pytest.mark.usefixtures("slow_table")
def test_an_update_in_place_loses_no_message(settings: Settings, stacks: Stacks, packaged: str) -> None:
    name = stacks.create("update", PARAMETERS)
    deployment = stacks.wait("create", name)
    update = new_version(settings, packaged)
    with traffic(settings, deployment) as ids:
        run.until(lambda: stored(settings), PATIENCE_SECS, "no row")
        stacks.update(name, PARAMETERS, update)
        stacks.wait("update", name)
        run.until(lambda: "DE" in stored(settings).values(), PATIENCE_SECS, "no row of the new version")

    run.until(
        lambda: run.queue_depth(settings, deployment.queue_url) == 0, PATIENCE_SECS, "the queue is not empty"
    )
    locales = stored(settings)
    assert locales.keys() == set(ids)
    assert set(locales.values()) == {"de", "DE"}
    assert run.queue_depth(settings, deployment.dead_letter_queue_url) == 0
