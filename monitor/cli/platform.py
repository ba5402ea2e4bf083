"""A person's day one: up, stop, status, doctor, logs, backup, restore, reset, link."""

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from monitor.errors import BadInput, Unavailable
from monitor.settings import Settings

HomeOption = Annotated[Path | None, typer.Option("--home", help="Where Holdfast keeps its data.", show_default=False)]
PortOption = Annotated[int | None, typer.Option("--port", help="Port of the dashboard and API.", show_default=False)]
LINK_HOURS = 12
DEMO = "demo"  # the demo keeps to a folder of its own under home
ADMIN = "you"


def say(sentence: str) -> None:
    """Progress and notes go to stderr; stdout is for results."""
    print(sentence, file=sys.stderr, flush=True)


def register(app: typer.Typer) -> None:
    for command in (up, stop, status, doctor, logs, backup, restore, reset, link):
        app.command()(command)


@contextlib.contextmanager
def stopping() -> Iterator[dict[str, bool]]:
    """SIGTERM and Ctrl-C set `stopped`, so that children are ended in order and nothing is left behind."""
    state = {"stopped": False}

    def note(*_: object) -> None:
        state["stopped"] = True

    before = {name: signal.signal(name, note) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield state
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def database_url(settings: Settings) -> str:
    """The given database, that of the processes that run on `home`, or its embedded one, started and migrated.

    The demo's is not the one that `up` would start on the same home.
    """
    from monitor.db import embedded, engine, migrate
    from monitor.up import running_supervisor

    if settings.database_url:
        with engine.opened(settings.database_url) as connected:
            migrate.check(connected)
        return settings.database_url
    running = running_supervisor(settings)
    url = (running.database_url if running else None) or embedded.start(settings.home)
    migrate.upgrade(url)
    return url


def sign_in_url(settings: Settings, url: str, *, user: str = ADMIN) -> str:
    """A link that signs `user` in once; an account made so is admin, operator and approver. Both are on record."""
    from monitor.acts import users as acts
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db import engine, users
    from monitor.governance.roles import Role
    from monitor.up import running_supervisor

    with engine.opened(url) as connected, engine.transaction(connected) as session:
        now, person = engine.database_now(session), users.find_user(session, user)
        if person is None:
            roles = [Role.ADMIN, Role.OPERATOR, Role.APPROVER]
            person = acts.create_person(session, name=user, roles=roles, by=COMMAND_LINE, now=now)
        token = acts.invite(session, person, lifetime=timedelta(hours=LINK_HOURS), by=COMMAND_LINE, now=now)
    running = running_supervisor(settings)
    return f"{running.link if running else settings.link}/?once={token}"


def up(home: HomeOption = None, port: PortOption = None) -> None:
    """Start every process of the platform and the dashboard, and keep them alive until Ctrl-C."""
    from monitor import up as supervisor

    settings = Settings.load(home=home, port=port)
    if supervisor.running_supervisor(settings):
        raise BadInput(f"Holdfast already runs on {settings.home}: see holdfast status, or holdfast stop")
    supervisor.require_free_port(settings)
    url = database_url(settings)
    programs = supervisor.platform_programs(settings)
    running = supervisor.Supervisor(
        settings=settings, programs=programs, environment=supervisor.child_environment(settings, url)
    )
    with stopping() as state:
        running.start()
        try:
            say(f"Dashboard: {sign_in_url(settings, url)}  (signs you in, once; another: holdfast link)")
            say("Ctrl-C stops everything.")
            running.watch(should_stop=lambda: state["stopped"], on_event=say)
        finally:
            say("stopping …")
            running.stop()
            stop_embedded(settings)


def stop_embedded(settings: Settings) -> None:
    from monitor.db import embedded

    if not settings.database_url:
        embedded.stop(settings.home)


def stop(home: HomeOption = None) -> None:
    """Stop a running platform, and the embedded PostgreSQL with it."""
    from monitor import up as supervisor

    settings = Settings.load(home=home)
    stopped = supervisor.stop_supervisor(settings)
    stop_embedded(settings)
    say("stopped" if stopped else f"nothing was running on {settings.home}")


def status(home: HomeOption = None) -> None:
    """Say which processes run, and how the models are."""
    from monitor import up as supervisor
    from monitor.db import embedded

    settings = Settings.load(home=home)
    state = supervisor.running_supervisor(settings)
    if state is None:
        print(f"Holdfast is not running on {settings.home}. Start it: holdfast up")
    else:
        print(f"Holdfast runs (process {state.process.pid}) on {settings.home}: {state.link}")
        for name, pid in state.programs.items():
            print(f"  {name:<12} process {pid}")
    url = settings.database_url or (state.database_url if state else None) or embedded.running(settings.home)
    if url is None:
        print("PostgreSQL: not running")
        return
    for sentence in _model_sentences(url):
        print(sentence)


def _model_sentences(url: str) -> list[str]:
    from monitor.db import engine, migrate
    from monitor.db.read_overview import overview

    with engine.opened(url) as connected:
        migrate.check(connected)
        with engine.transaction(connected) as session:
            found = overview(session)
            lines = [
                f"  {row.name:<20} {row.verdict or 'no window yet':<24} {row.why or row.sentence}" for row in found.rows
            ]
            return [found.headline, *lines]


def doctor(home: HomeOption = None, port: PortOption = None) -> None:
    """Check everything that Holdfast needs on this machine, and say what to do about what is wrong."""
    settings = Settings.load(home=home, port=port)
    problems = 0
    for name, check in _examinations(settings):
        try:
            print(f"ok    {name}: {check()}")
        except (BadInput, Unavailable, OSError, ImportError) as error:
            problems += 1
            print(f"FAIL  {name}: {error}")
    if problems:
        raise typer.Exit(2)


def _examinations(settings: Settings) -> list[tuple[str, Any]]:
    from monitor import up as supervisor

    def home_is_writable() -> str:
        settings.home.mkdir(parents=True, exist_ok=True)
        probe = settings.home / ".probe"
        probe.write_text("")
        probe.unlink()
        free = shutil.disk_usage(settings.home).free / 2**30
        if free < 1:
            raise Unavailable(f"{free:.1f} GiB are free on {settings.home}, at least 1 is needed")
        return f"{settings.home}, {free:.0f} GiB free"

    def port_is_free() -> str:
        if supervisor.running_supervisor(settings):
            return f"{settings.port}, Holdfast listens there"
        supervisor.require_free_port(settings)
        return f"{settings.port} is free"

    def postgres_answers() -> str:
        from sqlalchemy import text

        from monitor.db import embedded, engine

        kind = "given by DATABASE_URL" if settings.database_url else "embedded"
        was_running = settings.database_url or embedded.running(settings.home)
        url = settings.database_url or embedded.start(settings.home)
        with engine.opened(url) as connected, engine.transaction(connected) as session:
            version = session.execute(text("SHOW server_version")).scalar_one()
        if not was_running:
            embedded.stop(settings.home)
        return f"{version}, {kind}"

    def libraries_import() -> str:
        import streamlit
        import torch

        return f"torch {torch.__version__}, streamlit {streamlit.__version__}"

    return [
        ("home", home_is_writable),
        ("port", port_is_free),
        ("PostgreSQL", postgres_answers),
        ("libraries", libraries_import),
    ]


def logs(
    process: Annotated[str | None, typer.Argument(help="scheduler, worker-1, dashboard, …", show_default=False)] = None,
    home: HomeOption = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.")] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
) -> None:
    """Show what the processes wrote."""
    settings = Settings.load(home=home)
    there = sorted(settings.logs_dir.glob("*.log"))
    chosen = [path for path in there if process in (None, path.stem)]
    if not chosen:
        names = ", ".join(path.stem for path in there) or "none yet: start it with holdfast up"
        raise BadInput(f"expected the name of a process with a log, got {process!r}; there are: {names}")
    for path in chosen:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]:
            print(f"{path.stem:<12} {line}")
    if follow:
        _follow(chosen)


def _follow(paths: list[Path]) -> None:
    offsets = {path: path.stat().st_size for path in paths}
    while True:
        for path in paths:
            with path.open("rb") as log:
                log.seek(offsets[path])
                new = log.read()
            offsets[path] += len(new)
            for line in new.decode("utf-8", errors="replace").splitlines():
                print(f"{path.stem:<12} {line}", flush=True)
        time.sleep(0.5)


def backup(
    file: Annotated[Path, typer.Argument(help="The archive to write, such as holdfast.zip.")], home: HomeOption = None
) -> None:
    """Write the whole database and every artefact into one archive."""
    from monitor.db import backup as archive

    settings = Settings.load(home=home)
    url = database_url(settings)
    summary = archive.backup(url, settings.artifact_dir, file)
    say(f"wrote {file}: {summary}")


def restore(
    file: Annotated[Path, typer.Argument(help="An archive that `holdfast backup` wrote.")], home: HomeOption = None
) -> None:
    """Read an archive back into an empty database."""
    from monitor import up as supervisor
    from monitor.db import backup as archive

    settings = Settings.load(home=home)
    if supervisor.running_supervisor(settings):
        raise BadInput("stop Holdfast before restoring: holdfast stop")
    url = database_url(settings)
    summary = archive.restore(url, settings.artifact_dir, file)
    say(f"restored {file}: {summary}")


def reset(home: HomeOption = None, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete everything that Holdfast stored under its home. The database of DATABASE_URL is left alone."""
    from monitor import up as supervisor

    settings = Settings.load(home=home)
    if not settings.home.exists():
        say(f"nothing to delete: {settings.home} does not exist")
        return
    if not yes and not typer.confirm(f"Delete everything under {settings.home}?", err=True):
        raise typer.Exit(1)
    supervisor.stop_supervisor(settings)
    stop_embedded(settings)
    stored = ["artifacts", "logs", "run", "postgres", "demo", "campaigns"]
    if not settings.database_url:
        stored.append("audit")  # heads of a trail that is gone with its database
    for name in stored:
        shutil.rmtree(settings.home / name, ignore_errors=True)
    say(f"deleted what Holdfast stored under {settings.home}")


def link(
    user: Annotated[str, typer.Option("--user", help="Whom the link signs in.")] = ADMIN, home: HomeOption = None
) -> None:
    """Print a link that signs a person in, once: to the running platform, else to a running demo."""
    from monitor.up import running_supervisor

    settings = Settings.load(home=home)
    demo = settings.model_copy(update={"home": settings.home / DEMO})
    chosen = demo if running_supervisor(settings) is None and running_supervisor(demo) else settings
    print(sign_in_url(chosen, database_url(chosen), user=user))
