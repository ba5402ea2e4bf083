"""The command `holdfast`: one file a group of commands, loaded only when it is called."""

import os
import sys

os.environ.setdefault("DO_NOT_TRACK", "1")  # before any library of the platform is imported

import typer

from monitor.cli import (
    audit,
    calendar,
    checking,
    database,
    deciding,
    envelopes,
    freezing,
    look,
    loop,
    models,
    monitors,
    platform,
    privacy,
    processes,
    proposals,
    quarantine,
    report,
    retiring,
    sampling,
    schemas,
    segments,
    sources,
    stressing,
    threats,
    tokens,
    users,
    voting,
)
from monitor.cli.demo import command as demo
from monitor.errors import HoldfastError

app = typer.Typer(
    name="holdfast",
    help="Continuous drift and robustness monitoring of machine-learning models in production.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (demo, platform, look, models, checking, stressing, freezing, privacy, processes, retiring, sampling):
    group.register(app)
app.command()(voting.rollback)
app.add_typer(database.app, name="db")
app.add_typer(models.app, name="model")
app.add_typer(sources.app, name="source")
app.add_typer(schemas.app, name="schema")
app.add_typer(models.routes, name="route")
app.add_typer(monitors.app, name="monitor")
app.add_typer(report.app, name="report")
app.add_typer(deciding.baseline, name="baseline")
app.add_typer(deciding.alert, name="alert")
app.add_typer(calendar.app, name="calendar")
app.add_typer(segments.app, name="segment")
app.add_typer(threats.app, name="threat")
app.add_typer(loop.app, name="loop")
app.add_typer(proposals.app, name="proposal")
app.add_typer(envelopes.app, name="envelope")
app.add_typer(users.app, name="user")
app.add_typer(tokens.app, name="token")
app.add_typer(audit.app, name="audit")
app.add_typer(quarantine.app, name="quarantine")

USER_ERROR = 2


def main() -> None:
    """Run the command; an error that Holdfast raises on purpose is a sentence and exit code 2, never a traceback."""
    try:
        app(standalone_mode=True)
    except HoldfastError as error:
        print(f"holdfast: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        print("holdfast: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
