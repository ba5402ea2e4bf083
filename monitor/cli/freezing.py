"""`holdfast freeze` and `holdfast unfreeze`: stop and resume automatic acts."""

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.acting import AsOption, open_desk, person
from monitor.cli.platform import HomeOption
from monitor.cli.voting import ReasonOption
from monitor.errors import BadInput

FrozenArgument = Annotated[str | None, typer.Argument(help="The model's name.", show_default=False)]


def register(root: typer.Typer) -> None:
    for command in (freeze, unfreeze):
        root.command()(command)


def freeze(
    model: FrozenArgument = None, reason: ReasonOption = "", who: AsOption = None, home: HomeOption = None
) -> None:
    """Stop every automatic act on a model; people may still act, and checks go on."""
    _set("freeze", model, reason, who, home)


def unfreeze(
    model: FrozenArgument = None, reason: ReasonOption = "", who: AsOption = None, home: HomeOption = None
) -> None:
    """Let policy act on a model again."""
    _set("unfreeze", model, reason, who, home)


def _set(word: str, model: str | None, reason: str, who: str | None, home: Path | None) -> None:
    from monitor.acts import retraining as acts
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    if not model:
        raise BadInput(f"expected the model to {word}: holdfast {word} MODEL")
    if not reason.strip():
        raise BadInput("expected --reason: others will ask why")
    act = acts.freeze if word == "freeze" else acts.unfreeze
    with open_desk(home) as desk, desk.transaction() as session:
        actor, row = person(session, who), model_named(session, model)
        act(session, row, by=actor, reason=reason, now=database_now(session))
    print(f"{model} is {'frozen: policy does nothing by itself' if word == 'freeze' else 'unfrozen'}")
