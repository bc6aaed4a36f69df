"""The commands behind the Makefile: `python -m stack up`, `down`, `run`, …"""

import argparse
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stack import chaos, deploy, emulator, example, logs, postgres, run, tool, watch
from stack.deploy import Deployment
from stack.mapping import Mapping
from stack.processes import Daemon, one_at_a_time, require_free_port
from stack.report import say, show, step
from stack.settings import Settings, StackError
from stack.status import overview
from stack.traffic import Logins, Orders

PORT_VARIABLES = ("POSTGRES_PORT", "LOCALSTACK_PORT")
NO_ARGUMENTS = Namespace(mappings=[])


def main() -> int:
    try:
        arguments = _parser().parse_args()
        return arguments.command(Settings.of_repo(), arguments) or 0
    except StackError as error:
        say(f"\nerror: {error}")
        return 1
    except KeyboardInterrupt:
        say("\ninterrupted")
        return 130


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="stack", description="The local stack.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: Callable[..., int | None]) -> ArgumentParser:
        added = commands.add_parser(name, help=function.__doc__)
        added.set_defaults(command=function)
        return added

    for name, function in COMMANDS.items():
        add(name, function)
    add("up", up_and_next).add_argument("mappings", type=_mapping, nargs="*")
    add("run", run_messages).add_argument("example", nargs="?")
    add("env", env).add_argument("mapping", type=_mapping, nargs="?")
    add("with", with_stack).add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    add("chaos", chaos_messages).add_argument("messages", type=int)
    add("invoke", invoke).add_argument("event", type=Path)
    add("watch", watch_function).add_argument("mapping", type=_mapping)
    logs_parser = add("logs", logs_of_function)
    logs_parser.add_argument("mapping", type=_mapping, nargs="?")
    return parser


def _mapping(file: str) -> Mapping:
    if not Path(file).is_file():
        raise StackError(f"there is no mapping '{file}': name one with PIPELINE=….toml")
    return Mapping.of(Path(file))


def up(settings: Settings, arguments: Namespace = NO_ARGUMENTS) -> None:
    """Starts the stack and deploys the template to it, for the shipped mapping or for those that are named.

    Parts that already run keep running.
    """
    with one_at_a_time(settings), _stopped_on_failure(settings):
        _prepare(settings)
        emulator.start(settings)  # takes a while, so it is awaited once the rest is ready
        deploy.build(settings)
        with step(f"Postgres on port {settings.identity.postgres_port}"):
            postgres.start(settings)
        with step(f"LocalStack on port {settings.identity.localstack_port}"):
            emulator.wait_ready(settings)
        shipped = [Mapping.shipped(settings)]
        is_first = not Deployment.all(settings)
        for mapping in (shipped if is_first else []) + arguments.mappings or shipped:
            tool.make_tables(settings, mapping)
            deploy.deploy(settings, mapping)


def up_and_next(settings: Settings, arguments: Namespace) -> None:
    """Starts the stack and deploys the template to it, and says what to do next."""
    up(settings, arguments)
    mappings = arguments.mappings or [Mapping.shipped(settings)]
    queues = ", ".join(mapping.name for mapping in mappings)
    say(f"\nup: {'queue' if len(mappings) == 1 else 'queues'} {queues}")
    words = {mapping.name: _make_words(settings, mapping) for mapping in mappings}
    for mapping in mappings:
        say(f'next: eval "$(make -s env{words[mapping.name]})" && sqs-to-postgres send FILE')
    say("then: make status; make logs" + words[mappings[0].name])


def _make_words(settings: Settings, mapping: Mapping) -> str:
    """What `make` needs to find a mapping."""
    if mapping == Mapping.shipped(settings):
        return ""
    file = mapping.file
    shown = file.relative_to(settings.root) if file.is_relative_to(settings.root) else file
    return f" PIPELINE={shlex.quote(str(shown))}"


def down(settings: Settings, *_: object) -> None:
    """Stops the stack and deletes its data."""
    with one_at_a_time(settings):
        stopped = [daemon.name for daemon in _daemons(settings) if daemon.stop()]
        postgres.daemon(chaos.database(settings)).stop()
        shutil.rmtree(settings.running, ignore_errors=True)
    say(f"stopped {' and '.join(stopped)}" if stopped else "the stack was not up")


def env(settings: Settings, arguments: Namespace) -> None:
    """Prints the exports that let `aws`, `psql` and the command-line tool find the stack."""
    for name, value in _env(settings, arguments.mapping).items():
        print(f"export {name}={shlex.quote(value)}")
    # Ours first: an `aws` from before 2023 does not know AWS_ENDPOINT_URL and would talk to AWS itself.
    print(f'export PATH={shlex.quote(str(_links(settings)))}:"$PATH"')


def status(settings: Settings, *_: object) -> None:
    """Prints what runs, the sizes of queues and table, and the result of the last batch."""
    show(overview(settings, _ports(settings)))


def logs_of_function(settings: Settings, arguments: Namespace) -> int:
    """Follows the function's log until it is interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        logs.follow(settings, Deployment.of(settings, arguments.mapping))
    return 0


def run_messages(settings: Settings, arguments: Namespace) -> None:
    """Starts the stack, sends events/logins.jsonl or an example through it and checks the result."""
    if arguments.example:
        mapping = Mapping.example(settings, arguments.example)
        up(settings, Namespace(mappings=[mapping]))
        example.run_example(settings, mapping)
    else:
        up(settings)
        run.run(settings, Deployment.of(settings))
    say("\nThe stack is still up. `make env` prints what `aws` and `psql` need, `make down` stops it.")


def chaos_messages(settings: Settings, arguments: Namespace) -> None:
    """Sends messages while faults are injected, and checks the balance."""
    with _left_as_found(settings):
        for traffic in (Logins(), Orders()):
            chaos.chaos(settings, traffic, arguments.messages)


def with_stack(settings: Settings, arguments: Namespace) -> int:
    """Runs a command with the stack up, and leaves the stack as it was found."""
    with _left_as_found(settings):
        return subprocess.run(arguments.words, env=os.environ | _env(settings)).returncode


@contextmanager
def _left_as_found(settings: Settings) -> Iterator[None]:
    """The stack is up inside; afterwards it is down again, unless it was up before."""
    found_up = any(daemon.pid() for daemon in _daemons(settings))
    try:
        up(settings)
        yield
    finally:
        if not found_up:
            down(settings)


def watch_function(settings: Settings, arguments: Namespace) -> None:
    """Runs the function against the local Postgres, and again whenever its code or its mapping changes."""
    with one_at_a_time(settings), _stopped_on_failure(settings):
        _prepare(settings)
        with step(f"Postgres on port {settings.identity.postgres_port}"):
            postgres.start(settings)
    watch.Watch(settings, arguments.mapping).run()


def invoke(settings: Settings, arguments: Namespace) -> int:
    """Sends an event to the function that `watch` runs, and prints its answer."""
    if not arguments.event.is_file():
        raise StackError(f"there is no file '{arguments.event}': name one with EVENT=events/….json")
    return watch.send(settings, arguments.event)


@contextmanager
def _stopped_on_failure(settings: Settings) -> Iterator[None]:
    """Whatever is started inside is stopped again if the rest cannot start, or on an interrupt."""
    found_up = [daemon for daemon in _daemons(settings) if daemon.pid()]
    try:
        yield
    except BaseException:
        for daemon in _daemons(settings):
            if daemon not in found_up:
                daemon.stop()
        raise


def _prepare(settings: Settings) -> None:
    """A folder for the run, and free ports, before anything is started or compiled."""
    if not any(daemon.pid() for daemon in _daemons(settings)):
        shutil.rmtree(settings.running, ignore_errors=True)  # left by a crash
    settings.running.mkdir(parents=True, exist_ok=True)
    for (daemon, port), variable in zip(_ports(settings).items(), PORT_VARIABLES, strict=True):
        if daemon.pid() is None:
            require_free_port(port, daemon.name, variable)
        elif os.environ.get(variable, str(port)) != str(port):
            raise StackError(
                f"{daemon.name} is up on port {port} already: run `make down` before {variable}=…."
            )
    settings.keep_identity()


def _daemons(settings: Settings) -> list[Daemon]:
    return [postgres.daemon(settings), emulator.daemon(settings)]


def _ports(settings: Settings) -> dict[Daemon, int]:
    ports = (settings.identity.postgres_port, settings.identity.localstack_port)
    return dict(zip(_daemons(settings), ports, strict=True))


def _is_up(settings: Settings) -> bool:
    return all(daemon.pid() for daemon in _daemons(settings))


def _env(settings: Settings, mapping: Mapping | None = None) -> dict[str, str]:
    if not _is_up(settings):
        raise StackError("the stack is not up: run `make up` first.")
    deployment = Deployment.of(settings, mapping)
    return {
        "DATABASE_URL": settings.admin_url,
        **settings.aws_env(),
        "MASK_SECRET_ID": deploy.MASK_SECRET,
        "QUEUE_URL": deployment.queue_url,
        "DLQ_URL": deployment.dead_letter_queue_url,
    }


def _links(settings: Settings) -> Path:
    """A folder with only the three programs that users need, not the dozens next to them."""
    folder = settings.state / "bin"
    folder.mkdir(exist_ok=True)
    aws, psql = Path(sys.executable).parent / "aws", postgres.programs() / "psql"
    for program in (aws, psql, tool.path(settings)):
        link = folder / program.name
        link.unlink(missing_ok=True)
        link.symlink_to(program)
    return folder


COMMANDS: dict[str, Callable[..., int | None]] = {
    "down": down,
    "status": status,
}

if __name__ == "__main__":
    sys.exit(main())
