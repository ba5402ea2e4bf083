"""`holdfast proposal follow`: a running training in the terminal, until the next step is somebody's."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.acting import Desk, open_desk, plain
from monitor.cli.platform import HomeOption
from monitor.errors import NotFound

if TYPE_CHECKING:
    from monitor.db.read_retraining import ProposalPage, Running

_DONE = ("awaiting_promotion", "promoted", "observing", "confirmed")


def follow(
    number: Annotated[int, typer.Argument(help="The proposal's number.")],
    every: Annotated[float, typer.Option("--every", min=0.05, help="Seconds between two looks.")] = 0.5,
    home: HomeOption = None,
) -> None:
    """Watch a training until it ends; exit code 0 only when its candidate awaits promotion, or is beyond that."""
    page = _watched(number, every, home)
    print(plain(page.headline + (f": {page.last_error}" if page.last_error else "")))
    if page.state not in _DONE:
        raise typer.Exit(1)


def _watched(number: int, every: float, home: Path | None) -> "ProposalPage":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with open_desk(home) as desk, Progress(*columns, console=Console(stderr=True)) as bar:
        page = _page(desk, number)
        task = bar.add_task(_words(page), total=1.0)
        while page.is_running:
            share = page.running.share if page.running else 0.0
            bar.update(task, completed=share, description=_words(page))
            time.sleep(every)
            page = _page(desk, number)
        bar.update(task, completed=1.0, description=_words(page))
    return page


def _page(desk: Desk, number: int) -> "ProposalPage":
    from monitor.db.read_retraining import proposal_page

    with desk.transaction() as session:
        page = proposal_page(session, number) if 0 < number < 2**63 else None
    if page is None:
        raise NotFound(f"there is no proposal {number}: `holdfast proposal list` shows those there are")
    return page


def _words(page: "ProposalPage") -> str:
    if not page.is_running or page.running is None:
        return page.state.replace("_", " ")
    return f"{page.running.sentence}{_losses(page.running)}"


def _losses(running: "Running") -> str:
    """The newest epoch's losses, such as ` · epoch 7: loss 0.213, clean 0.190, robust 0.301`."""
    if not running.curve:
        return ""
    newest = running.curve[-1]
    known = [f"{name} {newest[name]:.3f}" for name in ("loss", "clean", "robust") if newest.get(name) is not None]
    return f" · epoch {newest.get('epoch', len(running.curve))}: {', '.join(known)}" if known else ""
