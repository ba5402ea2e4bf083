"""`holdfast freeze` and `holdfast unfreeze`: stop and resume automatic acts."""

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.acting import AsOption, open_desk, person
from monitor.cli.platform import HomeOption
from monitor.cli.voting import ReasonOption
from monitor.errors import BadInput

FrozenArgument = Annotated[str | None, typer.Argument(help="The model's name.", show_default=False)]

AllOption = Annotated[bool, typer.Option("--all", help="Every model, those to come included.")]


def register(root: typer.Typer) -> None:
    for command in (freeze, unfreeze):
        root.command()(command)


def freeze(
    model: FrozenArgument = None, everything: AllOption = False, reason: ReasonOption = "", who: AsOption = None,
    home: HomeOption = None,
) -> None:  # fmt: skip
    """Stop every automatic act on a model, or on all; people may still act, and checks go on."""
    _set("freeze", model, everything, reason, who, home)


def unfreeze(
    model: FrozenArgument = None, everything: AllOption = False, reason: ReasonOption = "", who: AsOption = None,
    home: HomeOption = None,
) -> None:  # fmt: skip
    """Let policy act again on a model, or on all that were not frozen one by one."""
    _set("unfreeze", model, everything, reason, who, home)


def _set(word: str, model: str | None, everything: bool, reason: str, who: str | None, home: Path | None) -> None:
    from monitor.acts import retraining as acts
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    if bool(model) == everything:
        raise BadInput(f"expected the model to {word} or --all: holdfast {word} MODEL")
    if not reason.strip():
        raise BadInput("expected --reason: others will ask why")
    with open_desk(home) as desk, desk.transaction() as session:
        actor, now = person(session, who), database_now(session)
        if model:
            act = acts.freeze if word == "freeze" else acts.unfreeze
            act(session, model_named(session, model), by=actor, reason=reason, now=now)
        else:
            act_on_all = acts.freeze_all if word == "freeze" else acts.unfreeze_all
            act_on_all(session, by=actor, reason=reason, now=now)
    frozen = "frozen: policy does nothing by itself" if word == "freeze" else "unfrozen"
    print(f"{model or 'everything'} is {frozen}")
