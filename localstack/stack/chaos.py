"""Faults under live traffic, and the balance afterwards.

Good, bad and repeated messages go through the event source mapping while Postgres is killed, connections
are cut, the password rotates, a table is locked and the function itself is killed. In the end every good
message must be in its tables exactly once, every bad one in the dead-letter queue, and the queue empty.
Of an order all rows are stored at any moment, or none.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import psutil

from stack import deploy, emulator, postgres, run, tool
from stack.deploy import Deployment, client
from stack.processes import Daemon, free_port, one_at_a_time, wait_for_exit
from stack.proxy import Proxy
from stack.report import Progress, say, step, table
from stack.settings import APP_ROLE, Settings, StackError
from stack.traffic import Message, Traffic

SETTLE_TIMEOUT_SECS = 900
STATEMENT_TIMEOUT_SECS = 120
SEND_BATCH_SIZE = 10  # the maximum of a request
SENDERS = 4
LOCK_SECS = 7
"""Longer than the function's timeout."""
OUTAGE_SECS = 15
"""Several times the function's timeout and the queue's visibility timeout."""
MAX_RECEIVE_COUNT = 10
"""As in the profiles for traffic: the three tries of try-out would not outlast the faults."""


@dataclass
class Chaos:
    """The targets of the faults, and the faults injected so far."""

    settings: Settings
    """The settings of a Postgres of this test's own, and of the stack's LocalStack."""
    proxy: Proxy
    emulator: Daemon
    traffic: Traffic
    run: str
    """The prefix of this run's keys, and a part of the function's name."""
    injected: Counter[str] = field(default_factory=Counter)

    def kill_postgres(self) -> None:
        pid = postgres.daemon(self.settings).pid()
        if pid is None:
            raise StackError("Postgres is not running: something else has stopped it.")
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        os.kill(pid, signal.SIGKILL)
        for member in family:
            wait_for_exit(member, 10)
        # If init is slow to reap processes, Postgres would take the pid in this file for a running server.
        (self.settings.running / "postgres" / "data" / "postmaster.pid").unlink(missing_ok=True)
        time.sleep(OUTAGE_SECS)
        postgres.start(self.settings)
        self.injected[f"Postgres killed with SIGKILL, away for {OUTAGE_SECS} s and restarted"] += 1

    def cut_connections(self) -> None:
        with self._insert_under_way():
            self.injected["connections cut in mid-statement"] += self.proxy.cut()

    def rotate_password(self) -> None:
        """First in the database, then in the secret; the next time the other way round."""
        password = secrets.token_urlsafe(24)
        in_database = lambda: postgres.query(  # noqa: E731 (two steps whose order changes)
            self.settings, f"ALTER ROLE {APP_ROLE} PASSWORD '{password}'"
        )
        in_secret = lambda: self.put_secret(password)  # noqa: E731
        database_first = self.injected["password rotated"] % 2 == 0
        for change in (in_database, in_secret) if database_first else (in_secret, in_database):
            change()
            self.proxy.cut()
        self.injected["password rotated"] += 1

    def put_secret(self, password: str) -> None:
        deploy.put_database_secret(self.settings, password, self.proxy.port, self.secret)

    @property
    def name(self) -> str:
        """Of the stack and its function."""
        return f"chaos-{self.run}"

    @property
    def secret(self) -> str:
        return f"{self.name}/database"

    def stored(self) -> int:
        """How many keys are stored. Everything that belongs to a key must be stored with it at any time."""
        stored, torn = postgres.query(self.settings, self.traffic.progress).split("|")
        if int(torn):
            raise StackError(f"{torn} messages are stored only in part.")
        return int(stored)

    def lock_table(self) -> None:
        postgres.query(self.settings, f"BEGIN; {self._lock}; SELECT pg_sleep({LOCK_SECS}); COMMIT")
        self.injected[f"table locked for {LOCK_SECS} s"] += 1

    @property
    def _lock(self) -> str:
        return f"LOCK TABLE {self.traffic.locked} IN ACCESS EXCLUSIVE MODE"

    def kill_function(self) -> None:
        with self._insert_under_way():
            for process in psutil.Process(self.emulator.pid()).children(recursive=True):
                if self._is_function(process):
                    process.kill()
                    self.injected["function killed in mid-batch"] += 1

    def _is_function(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return process.environ().get("AWS_LAMBDA_FUNCTION_NAME") == self.name
        return False

    @contextmanager
    def _insert_under_way(self) -> Iterator[None]:
        """While a statement of the function waits for a lock, so that the fault certainly affects it."""
        locking = threading.Thread(target=self._hold_lock, daemon=True)
        locking.start()
        waiting = f"usename = '{APP_ROLE}' AND wait_event_type = 'Lock'"
        count = f"SELECT count(*) FROM pg_stat_activity WHERE {waiting}"
        try:
            run.until(
                lambda: int(postgres.query(self.settings, count)),
                STATEMENT_TIMEOUT_SECS,
                "no statement of the function",
            )
            yield
        finally:
            holder = "query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"
            end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {holder}"
            postgres.query(self.settings, end)
            locking.join()

    def _hold_lock(self) -> None:
        with contextlib.suppress(StackError):  # that it was terminated
            postgres.query(self.settings, f"BEGIN; {self._lock}; SELECT pg_sleep(60)")


def chaos(settings: Settings, traffic: Traffic, messages: int) -> None:
    """Raises `StackError` on any difference between what was sent and what arrived."""
    began = time.monotonic()
    with _stage(settings, traffic) as (trouble, deployment):
        sent = list(traffic.make(messages, trouble.run))
        with ThreadPoolExecutor(1) as sender:
            sending = sender.submit(_send, trouble.settings, deployment, sent)
            _inject(trouble, len(_good(sent)), sending)
        _wait_until_settled(trouble, deployment, sent)
        _show(trouble, sent, time.monotonic() - began)
        _check(trouble, deployment, sent)
    took = time.monotonic() - began
    say(f"\n{traffic.name} balanced: nothing lost, nothing twice, nothing in part, in {took:.0f} s")


def database(settings: Settings) -> Settings:
    """A Postgres of this test's own, so that its faults affect nobody else."""
    return Settings(settings.root, settings.running / "chaos")


@contextmanager
def _stage(settings: Settings, traffic: Traffic) -> Iterator[tuple[Chaos, Deployment]]:
    """The template under a name of its own, whose function reaches Postgres through a proxy."""
    with _database(settings, traffic) as own, _proxy(own) as proxy:
        trouble = Chaos(own, proxy, emulator.daemon(settings), traffic, run=secrets.token_hex(4))
        with step("deploying template.yaml once more (sam)"):
            trouble.put_secret(own.identity.app_password)
            changes = {"DeadLetters": "direct", "DatabaseSecret": trouble.secret}
            with one_at_a_time(settings):
                deployment = deploy.deploy_beside(settings, trouble.name, changes, traffic.mapping(settings))
            _give_many_tries(own, deployment)
        try:
            yield trouble, deployment
        finally:
            deploy.stop_polling(client(own, "lambda"), trouble.name)


@contextmanager
def _database(settings: Settings, traffic: Traffic) -> Iterator[Settings]:
    own = database(settings)
    postgres.daemon(own).stop()  # what an earlier run may have left
    shutil.rmtree(own.state, ignore_errors=True)
    own.keep_identity(replace(settings.identity, postgres_port=free_port()))
    try:
        postgres.start(own)
        tool.make_tables(own, traffic.mapping(own))
        postgres.query(own, traffic.constraint)
        yield own
    finally:
        postgres.daemon(own).stop()
        shutil.rmtree(own.state, ignore_errors=True)


@contextmanager
def _proxy(settings: Settings) -> Iterator[Proxy]:
    proxy = Proxy(settings.identity.postgres_port)
    try:
        yield proxy
    finally:
        proxy.close()


def _give_many_tries(settings: Settings, deployment: Deployment) -> None:
    """The queue allows a message as many tries as on AWS."""
    sqs, queue = client(settings, "sqs"), {"QueueUrl": deployment.queue_url}
    found = sqs.get_queue_attributes(**queue, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    many = json.dumps(json.loads(found) | {"maxReceiveCount": MAX_RECEIVE_COUNT})
    sqs.set_queue_attributes(**queue, Attributes={"RedrivePolicy": many})


def _good(sent: list[Message]) -> dict[str, str]:
    """What must be stored in the end for each key: the newest good message."""
    return {message.key: message.stored for message in sent if message.rule is None}


def _send(settings: Settings, deployment: Deployment, messages: list[Message]) -> None:
    """In batches of ten, several at a time. A repetition is recognised by the identity it carries."""
    sqs = client(settings, "sqs")

    def send(batch: list[Message]) -> None:
        entries = [
            {
                "Id": str(number),
                "MessageBody": message.body,
                "MessageAttributes": {
                    "origin": {"DataType": "String", "StringValue": _origin(settings, message)}
                },
            }
            for number, message in enumerate(batch)
        ]
        reply = sqs.send_message_batch(QueueUrl=deployment.queue_url, Entries=entries)
        if reply.get("Failed"):
            raise StackError(f"SQS did not accept all messages: {reply['Failed'][0]['Message']}")

    size = SEND_BATCH_SIZE
    batches = [messages[start : start + size] for start in range(0, len(messages), size)]
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, batches))


def _origin(settings: Settings, message: Message) -> str:
    """The identity that a message carries, signed with the mask key as `message/origin.rs` does."""
    key = base64.b64decode(settings.identity.mask_key)
    signing_key = _hkdf_sha256(key, b"sqs-to-postgres origin v2", length=64)
    # Id, time, queue, group and body, each after its length; time, queue and group are left open.
    fields = [message.id.encode(), b"", b"", b"", message.body.encode()]
    signed = b"".join(len(field).to_bytes(8) + field for field in fields)
    mac = hmac.digest(signing_key, signed, "sha256")
    text = base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
    return json.dumps({"id": message.id, "queue": "", "hmac": text})


def _hkdf_sha256(key: bytes, label: bytes, length: int) -> bytes:
    """RFC 5869, without salt."""
    pseudorandom_key = hmac.digest(bytes(hashlib.sha256().digest_size), key, "sha256")
    block, derived, number = b"", b"", 0
    while len(derived) < length:
        number += 1
        block = hmac.digest(pseudorandom_key, block + label + bytes([number]), "sha256")
        derived += block
    return derived[:length]


def _inject(trouble: Chaos, total: int, sending: Future[None]) -> None:
    """Each fault twice, one after the other, as soon as the next share of the messages is stored."""

    def are_stored(due: int) -> bool:
        if sending.done():
            sending.result()  # raises what stopped it
        return trouble.stored() >= due

    faults = [
        trouble.cut_connections,
        trouble.kill_function,
        trouble.rotate_password,
        trouble.kill_postgres,
        trouble.lock_table,
    ] * 2
    for number, fault in enumerate(faults, start=1):
        due = total * number // (2 * len(faults))
        with step(f"{due:6} stored: {fault.__name__.replace('_', ' ')}"):
            run.until(lambda due=due: are_stored(due), SETTLE_TIMEOUT_SECS, "no progress")
            fault()


def _wait_until_settled(trouble: Chaos, deployment: Deployment, sent: list[Message]) -> None:
    good = len(_good(sent))
    progress = Progress(good)

    def settled() -> bool:
        stored, waiting = trouble.stored(), run.queue_depth(trouble.settings, deployment.queue_url)
        progress.show(stored, f"{stored} of {good} stored · {waiting} in the queue")
        return waiting == 0

    try:
        run.until(settled, SETTLE_TIMEOUT_SECS, "the queue did not become empty")
    finally:
        progress.end()


def _show(trouble: Chaos, sent: list[Message], secs: float) -> None:
    kinds = Counter(message.rule or "good" for message in sent)
    repeated = len(sent) - len({message.id for message in sent})
    say("\nfaults injected")
    say(table([("fault", "times"), *((name, str(count)) for name, count in trouble.injected.items())]))
    say(f"\nmessages sent, {repeated} of the good ones a second time, in {secs:.0f} s")
    say(table([("kind", "count"), *((name, str(count)) for name, count in kinds.items())]))


def _check(trouble: Chaos, deployment: Deployment, sent: list[Message]) -> None:
    """The balance, by identity and not only by number."""
    good = Counter(_good(sent).values())
    bad = {message.body for message in sent if message.rule is not None}
    stored = Counter(postgres.query(trouble.settings, trouble.traffic.stored).splitlines())
    letters = run.peek(trouble.settings, deployment.dead_letter_queue_url).values()
    dead = {body for body in letters if f"{trouble.run}-" in body}
    balance = {
        "good messages that are not stored whole": len(good - stored),
        "stored that should not be": (stored - good).total(),
        "bad messages that are not dead letters": len(bad - dead),
        "dead letters that were good": len(dead - bad),
        "messages left in the queue": run.queue_depth(trouble.settings, deployment.queue_url),
    }
    say("\nbalance")
    say(table([("difference", "count"), *((name, str(count)) for name, count in balance.items())]))
    if any(balance.values()):
        raise StackError("the messages that arrived are not those that were sent: the differences are above.")
