"""`holdfast proposal`: what is proposed, on which evidence; deciding on it; taking it away as a file."""

import os
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli import following, voting
from monitor.cli.acting import WHO, AsOption, open_desk, person, plain
from monitor.cli.platform import HomeOption, say
from monitor.errors import BadInput

app = typer.Typer(help="Retraining, decided by people on evidence.", no_args_is_help=True)
for act in (voting.request, voting.approve, voting.reject, voting.promote, voting.cancel):
    app.command()(act)
app.command()(following.follow)

NumberArgument = Annotated[int, typer.Argument(help="The proposal's number.")]


@app.command("list")
def list_proposals(
    model: Annotated[str | None, typer.Argument(help="One model's alone.", show_default=False)] = None,
    home: HomeOption = None,
) -> None:
    """Every proposal, the open ones first."""
    from monitor.db.read_retraining import proposals

    with open_desk(home) as desk, desk.transaction() as session:
        found = proposals(session, model=model)
    if not found:
        say("nothing is proposed")
    for line in found:
        words = line.state.replace("_", " ")
        asked = f"by {line.requested_by:<10} {line.created_at:%Y-%m-%d %H:%M} UTC"
        print(f"#{line.id:<4} {line.model:<16} {words:<20} {asked}  {plain(line.reason)}")


@app.command()
def show(number: NumberArgument, who: AsOption = None, home: HomeOption = None) -> None:
    """One proposal with its evidence, its gates, its votes, and whether you may decide."""
    with open_desk(home) as desk, desk.transaction() as session:
        reader = person(session, who) if who or os.environ.get(WHO) else None
        for line in voting.shown(session, number, reader):
            print(line)


@app.command()
def export(
    number: NumberArgument,
    file: Annotated[Path, typer.Argument(help="The JSON file to write.")],
    home: HomeOption = None,
) -> None:
    """Write evidence, votes, gates, snapshot and audit entries into one file that can be checked anywhere."""
    from monitor.reports.bundle import bundle

    with open_desk(home) as desk, desk.transaction() as session:
        data = bundle(session, number)
    try:
        file.write_bytes(data)
    except OSError as error:
        raise BadInput(f"expected a file that can be written, but {file}: {error.strerror}") from None
    say(f"wrote {file}: holdfast proposal verify {file}")


@app.command()
def verify(file: Annotated[Path, typer.Argument(help="A file that `export` wrote.")]) -> None:
    """Check an exported proposal without a database; exit code 2 if anything in it was changed."""
    from monitor.governance.bundle import check_bundle

    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadInput(f"expected an exported proposal, but {file} cannot be read: {error.strerror}") from None
    found = check_bundle(data)
    print("\n".join(found.faults) or found.sentence)
    if not found.ok:
        raise typer.Exit(2)
