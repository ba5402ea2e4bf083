"""`holdfast demo`."""

import json
import signal
import sys
from typing import Annotated

import typer

from monitor.cli.platform import DEMO, HomeOption, PortOption, say
from monitor.errors import BadInput
from monitor.settings import Settings


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    headless: Annotated[bool, typer.Option("--headless", help="No dashboard; end when the replay is done.")] = False,
    approve: Annotated[bool, typer.Option("--approve", help="Decide as the demo's people would.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Another world.")] = 0,
    home: HomeOption = None,
    port: PortOption = None,
) -> None:
    """Watch the whole loop work on 90 days of generated card payments."""
    import torch

    from monitor import up
    from monitor.cli.demo.run import Options, run

    settings = Settings.load(home=home, port=port)
    settings = settings.model_copy(update={"home": settings.home.expanduser().resolve() / DEMO, "poll_seconds": 0.3})
    if up.running_supervisor(settings):
        raise BadInput("the demo runs already: stop it with Ctrl-C where it was started")
    if not headless:
        up.require_free_port(settings)
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended either way, it takes its processes with it
    bar = _Bar()
    try:
        document = run(
            settings,
            Options(seed=seed, headless=headless, approve=approve),
            say=bar.above,
            tell_progress=bar.move,
        )
    finally:
        bar.end()
    print(json.dumps(document))


class _Bar:
    """One line at the foot of the terminal; without a terminal, a line every ten days."""

    def __init__(self) -> None:
        self.shown = ""

    def move(self, day: int, days: int) -> None:
        done = min(24, round(24 * day / days))
        self.shown = f"      {'█' * done}{'░' * (24 - done)}  day {day}"
        if sys.stderr.isatty():
            print(f"\r\033[K{self.shown}", end="", file=sys.stderr, flush=True)
        elif day % 10 == 0:
            say(f"      day {day}")

    def above(self, sentence: str) -> None:
        if sys.stderr.isatty() and self.shown:
            print(f"\r\033[K{sentence}\n{self.shown}", end="", file=sys.stderr, flush=True)
        else:
            say(sentence)

    def end(self) -> None:
        if sys.stderr.isatty() and self.shown:
            print(file=sys.stderr)
