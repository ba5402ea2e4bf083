"""`holdfast sample`: which rows are kept as traces."""

from typing import Annotated

import typer

from monitor.cli.acting import AsOption, open_desk, person_or_owner
from monitor.cli.deciding import ModelArgument
from monitor.cli.platform import HomeOption


def register(app: typer.Typer) -> None:
    app.command()(sample)


def sample(
    model: ModelArgument,
    rate: Annotated[float | None, typer.Option("--rate", help="Keep this share.", show_default=False)] = None,
    rows: Annotated[
        int | None, typer.Option("--rows", help="Keep about so many a window; 0: by the rate.", show_default=False)
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="As many of each level of this feature.", show_default=False)
    ] = None,
    surprise: Annotated[
        float | None,
        typer.Option(
            "--surprise", help="Keep at least this share of rows that say more than others.", show_default=False
        ),
    ] = None,
    home: HomeOption = None,
    name: AsOption = None,
) -> None:  # fmt: skip
    """Say which rows are kept as traces; without options, show it. Every row is counted, kept or not.

    It holds for rows that come from now on.
    """
    from monitor.acts.sampling import configure_sampling, sampling_in_words
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    with open_desk(home) as desk, desk.transaction() as session:
        settings = configure_sampling(
            session, model_named(session, model), rate=rate, rows=rows, by_feature=by, surprise=surprise,
            by=person_or_owner(session, name), now=database_now(session),
        )  # fmt: skip
    print(f"{model}: {sampling_in_words(settings)}")
