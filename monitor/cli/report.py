"""`holdfast report`: an Evidently report of a window, now; and all kept ones as a workspace for `evidently ui`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from monitor.cli.models import open_door
from monitor.cli.platform import HomeOption, say
from monitor.errors import BadInput, JobFailed


class ModelOrCommand(TyperGroup):
    """`holdfast report MODEL …` is `holdfast report make MODEL …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["make", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


app = typer.Typer(
    cls=ModelOrCommand, no_args_is_help=True,
    help="An Evidently report of a window: holdfast report MODEL [--window T] [--preset P] [--out FILE].",
)  # fmt: skip


@app.command()
def make(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    window: Annotated[
        str | None,
        typer.Option(
            "--window", help="A moment within it, or FROM/TO; default: the newest whole one.", show_default=False
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option("--preset", help="all, drift, summary, classification or regression.")
    ] = "all",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the page here (.json: its numbers).", show_default=False)
    ] = None,
    home: HomeOption = None,
) -> None:  # fmt: skip
    """Compare a window with the reference, here and now."""
    from monitor.acts.reports import order_report, window_named
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.checks import Report
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named
    from monitor.jobs.report import make as render
    from monitor.up import running_supervisor

    with open_door(home) as door:
        with door.transaction() as session:
            registered = model_named(session, model)
            span = window_named(registered, window)
            report = order_report(
                session, registered, window=span, preset=preset, by=COMMAND_LINE, now=database_now(session), queue=False
            )
            report_id, is_ready = report.id, report.state == "ready"
        say(f"window {span.start:%Y-%m-%d %H:%M} to {span.end:%Y-%m-%d %H:%M} UTC")
        if not is_ready:
            render(door.tools, report_id)
        with door.transaction() as session:
            done = session.get_one(Report, report_id)
            sentence, html, numbers = done.sentence, done.html_sha256, done.json_sha256
        if html is None or numbers is None:
            raise JobFailed(f"no report: {sentence}")
        say(sentence)
        if out is None:
            running = running_supervisor(door.settings)
            print(f"{running.link if running else door.settings.link}/reports/{report_id}")
            return
        _write(out, door.tools.store.read(numbers if out.suffix == ".json" else html))
        print(out)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    workspace: Annotated[Path, typer.Option("--workspace", help="A folder for `evidently ui --workspace DIR`.")],
    with_findings: Annotated[
        bool, typer.Option("--with-findings", help="Also how far each feature moved in each window, by Holdfast.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Write the model's kept reports into a workspace of Evidently's; a second time adds the new ones."""
    from monitor.db.registry import model_named
    from monitor.jobs.export import export_reports

    with open_door(home) as door, door.transaction() as session:
        done = export_reports(
            session, door.tools.store, model_named(session, model), workspace, with_findings=with_findings
        )
    older = f", {done.without_snapshot} of an older Holdfast left out" if done.without_snapshot else ""
    print(f"{done.new} runs added, {done.there} were there{older}")
    say(f"open it: DO_NOT_TRACK=1 evidently ui --workspace {workspace}")


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise BadInput(f"expected a file that can be written for --out, got {file}: {error.strerror}") from error
