"""`holdfast loop`: what an owner asks of the governed loop."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.deciding import ModelArgument
from monitor.cli.models import open_door
from monitor.cli.platform import HomeOption
from monitor.errors import BadInput

if TYPE_CHECKING:
    from monitor.db.registry import ModelSettings

app = typer.Typer(help="Who trains, whose groups are compared, shadow, and who is told.", no_args_is_help=True)


def _names(listed: str | None) -> list[str] | None:
    return None if listed is None else [name.strip() for name in listed.split(",") if name.strip()]


@app.command("set")
def set_loop(
    model: ModelArgument,
    trainer: Annotated[
        str | None,
        typer.Option("--trainer", help="holdfast, or a JSON file with kind command or webhook.", show_default=False),
    ] = None,
    fairness: Annotated[
        str | None,
        typer.Option("--fairness", help="Features whose groups a gate compares: channel,sex.", show_default=False),
    ] = None,
    shadow_windows: Annotated[
        int | None,
        typer.Option("--shadow-windows", help="How many windows a candidate is shadowed; 0: not.", show_default=False),
    ] = None,
    shadow_limit: Annotated[
        float | None,
        typer.Option("--shadow-limit", help="By how much its mean loss may be higher.", show_default=False),
    ] = None,
    champion_webhook: Annotated[
        str | None,
        typer.Option("--champion-webhook", help="Address that is told which version should serve.", show_default=False),
    ] = None,
    allow_leaks: Annotated[
        str | None,
        typer.Option("--allow-leaks", help="Features that may almost be the label: known,in,time.", show_default=False),
    ] = None,
    retrain_every: Annotated[
        int | None,
        typer.Option("--retrain-every", help="Propose every so many windows; 0: never.", show_default=False),
    ] = None,
    proposal_hours: Annotated[
        float | None, typer.Option("--proposal-hours", help="How long a proposal waits.", show_default=False)
    ] = None,
    approval_hours: Annotated[
        float | None, typer.Option("--approval-hours", help="How long an approval holds unused.", show_default=False)
    ] = None,
    observed_windows: Annotated[
        int | None,
        typer.Option("--observed-windows", help="Windows without harm that confirm a version.", show_default=False),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Change what is given and keep the rest; it holds from the next retraining on."""
    from monitor.acts.loop import configure_loop
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    asked: dict[str, Any] = {
        "trainer": None if trainer is None else _trainer(trainer),
        "fairness_by": _names(fairness), "allow_leaks": _names(allow_leaks), "shadow_windows": shadow_windows,
        "shadow_limit": shadow_limit, "champion_webhook": champion_webhook, "retrain_every_windows": retrain_every,
        "proposal_hours": proposal_hours, "approval_hours": approval_hours, "observed_windows": observed_windows,
    }  # fmt: skip
    with open_door(home) as door, door.transaction() as session:
        row = model_named(session, model)
        settings = configure_loop(session, row, **asked, by=COMMAND_LINE, now=database_now(session))
    _print(model, settings)


@app.command()
def show(model: ModelArgument, home: HomeOption = None) -> None:
    """What holds."""
    from monitor.db.registry import ModelSettings, model_named

    with open_door(home) as door, door.transaction() as session:
        settings = ModelSettings.of(model_named(session, model))
    _print(model, settings)


def _trainer(told: str) -> dict[str, Any]:
    if told == "holdfast":
        return {"kind": "holdfast"}
    try:
        found = json.loads(Path(told).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"expected holdfast or a JSON file, got --trainer {told}: {error}") from None
    if not isinstance(found, dict):
        raise BadInput(f"expected an object with kind in {told}, got {type(found).__name__}")
    return found


def _print(model: str, settings: "ModelSettings") -> None:
    """Of addresses the host alone."""
    from monitor.acts.trainers import WebhookTrainer, trainer_of
    from monitor.notify.addresses import host_of

    trainer = trainer_of(settings.trainer)
    where = f" at {host_of(trainer.url)}" if isinstance(trainer, WebhookTrainer) else ""
    told = host_of(settings.champion_webhook) if settings.champion_webhook else "nobody"
    shadow = (
        f"{settings.shadow_windows} windows, limit {settings.shadow_limit:g}" if settings.shadow_windows else "none"
    )
    print(f"{model}: trained by {trainer.kind}{where}")
    print(f"  groups compared    {', '.join(settings.fairness_by) or 'none'}")
    print(f"  shadow             {shadow}")
    print(f"  told who serves    {told}")
    every = settings.retrain_every_windows
    print(f"  on schedule        {f'every {every} windows' if every else 'never'}")
    print(
        f"  waits              {settings.proposal_hours:g} h for a decision, {settings.approval_hours:g} h for a worker"
    )
    print(f"  confirmed after    {settings.observed_windows} windows without harm")
    print(f"  leaks allowed      {', '.join(settings.allow_leaks) or 'none'}")
