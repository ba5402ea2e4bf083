"""The processes of the platform, one command each: what `holdfast up` and `compose.yaml` start."""

import gc
import importlib
import os
import platform as machine
import signal
import sys
import threading
from collections.abc import Iterable
from importlib import metadata
from typing import TYPE_CHECKING, Any

import typer

from monitor.errors import BadInput
from monitor.settings import Settings

SWITCH_SECONDS = (
    5e-4  # a refusal must not wait for the threads that look tokens up: each holds the interpreter this long
)

if TYPE_CHECKING:
    from monitor.jobs.context import Tools
    from monitor.training.networks import Factory


def register(app: typer.Typer) -> None:
    for command in (scheduler, worker, dashboard, api):
        app.command()(command)


def configure_logging() -> None:
    """One line an event; tracebacks without the values of variables, which may be inputs or secrets."""
    import logging

    import structlog

    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a tick that was skipped is made up for by the next
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )


def make_tools(settings: Settings, url: str, *, children: bool = True) -> "Tools":
    """What job handlers are handed, from the settings of this process."""
    from monitor.artifacts import Store
    from monitor.db.engine import make_engine
    from monitor.jobs.context import Tools
    from monitor.jobs.failpoints import Failpoints

    return Tools(
        engine=make_engine(url),
        store=Store(settings.artifact_dir),
        factories=allowed_factories(settings.factories),
        home=settings.home,
        code_version=metadata.version("holdfast"),
        hardware=f"{machine.machine()}, {os.cpu_count()} cores",
        failpoints=Failpoints(settings.failpoint, settings.run_dir),
        children=children,
        link=(settings.public_url or settings.link).rstrip("/"),
        commands=settings.trainer_commands,
        secret=lambda name: _secret(settings, name),
    )


def _secret(settings: Settings, name: str) -> str:
    """What a request is signed with; empty where nobody set it."""
    if name == "HOLDFAST_WEBHOOK_SECRET":
        return settings.webhook_secret.get_secret_value() if settings.webhook_secret else ""
    return os.environ.get(name, "")


def allowed_factories(import_strings: Iterable[str]) -> "dict[str, Factory]":
    """The built-in torch factory, and those that the settings allow by import string; imported when first used."""
    from monitor.training.networks import FACTORIES

    return {**FACTORIES, **{name: _imported(name) for name in import_strings}}


def _imported(name: str) -> "Factory":
    module, _, function = name.partition(":")
    if not module or not function:
        raise BadInput(f"expected a factory as module:function in the settings, got {name!r}")

    def build(*arguments: Any) -> Any:
        try:
            found = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise BadInput(f"factory {name} cannot be imported: {error}; is its folder on PYTHONPATH?") from error
        return found(*arguments)

    return build


def _given_database(settings: Settings) -> str:
    if settings.database_url is None:
        raise BadInput("expected DATABASE_URL: this process serves a given database; `holdfast up` brings its own")
    from monitor.cli.platform import database_url

    return database_url(settings)


def _until_told() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    return stop


def scheduler() -> None:
    """Find the windows that are due and write their jobs, until told to stop."""
    from monitor.db.audit_heads import Keeper
    from monitor.db.engine import make_engine
    from monitor.scheduler import run

    settings = Settings.load()
    configure_logging()
    run(
        make_engine(_given_database(settings)), every_seconds=settings.poll_seconds, stop=_until_told(),
        keeper=Keeper.of(settings.home, settings.audit_sink),
    )  # fmt: skip


def worker() -> None:
    """Claim jobs and do them, until told to stop."""
    import torch

    from monitor.jobs.worker import work_beside

    settings = Settings.load()
    configure_logging()
    torch.set_num_threads(1)
    tools = make_tools(settings, _given_database(settings))
    stop = _until_told()
    work_beside(tools, f"{machine.node()}:{os.getpid()}", stop.is_set)


def dashboard() -> None:
    """Serve the dashboard, the API and sign-in on one port."""
    _serve("dashboard.door:app")


def api() -> None:
    """Serve the API alone."""
    _serve("monitor.api.alone:app")


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _serve(factory: str) -> None:
    import uvicorn

    settings = Settings.load()
    configure_logging()
    _given_database(settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    signal.signal(signal.SIGTERM, _leave)  # uvicorn hands it on when it is done; without, nothing would be tidied up
    config = uvicorn.Config(
        factory, factory=True, host=settings.host, port=settings.port, log_level="warning", access_log=False
    )
    config.load()
    gc.freeze()  # what is there now stays: to look through all of it would hold up every answer for a third of a second
    uvicorn.Server(config).run()
