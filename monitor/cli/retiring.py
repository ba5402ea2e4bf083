"""`holdfast retire`: a model or a version of which nothing is asked any more."""

from typing import Annotated

import typer

from monitor.cli.acting import AsOption, open_desk, person
from monitor.cli.platform import HomeOption
from monitor.cli.voting import ModelArgument, ReasonOption


def register(root: typer.Typer) -> None:
    root.command()(retire)


def retire(
    model: ModelArgument,
    version: Annotated[
        str | None, typer.Option("--version", help="This version alone; else the model.", show_default=False)
    ] = None,
    reason: ReasonOption = "",
    who: AsOption = None,
    home: HomeOption = None,
) -> None:
    """Check, alert and retrain a model no more, or never let a version serve again; what was stays on record."""
    from monitor.acts import retiring as acts
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named, version_named

    with open_desk(home) as desk, desk.transaction() as session:
        actor, row, now = person(session, who), model_named(session, model), database_now(session)
        if version is None:
            acts.retire_model(session, row, by=actor, reason=reason, now=now)
        else:
            acts.retire_version(session, version_named(session, row, version), by=actor, reason=reason, now=now)
    print(f"{model}{f' {version}' if version else ''} is retired")
