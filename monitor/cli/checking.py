"""`holdfast check`: the drift checks of one model now, what they found, and with --explain why they fired or not."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.checked import Shown, print_window, span_in_words
from monitor.cli.models import Door, open_door
from monitor.cli.platform import HomeOption, say
from monitor.errors import BadInput, Unavailable
from monitor.windows import Window, parse_moment, span_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from monitor.db.read_checks import DriftCheck
    from monitor.db.registry import Model
    from monitor.drift import Reference as Normal
    from monitor.drift.why import Terms

INCIDENT_OPEN = 1
_KINDS = ("check_quality", "check_drift", "check_segments")
_MOST_WINDOWS = 1_000
_WAIT_SECONDS = 120.0


def register(app: typer.Typer) -> None:
    app.command()(check)


def check(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    window: Annotated[
        str,
        typer.Option("--window", help="last, a number of newest windows, START, or START..END (UTC; END included)."),
    ] = "last",
    explain: Annotated[bool, typer.Option("--explain", help="Say in words and numbers why it fired or not.")] = False,
    segment: Annotated[
        str | None, typer.Option("--segment", help="A declared segment instead of all rows.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    home: HomeOption = None,
) -> None:
    """Run the drift checks that are due, and show a window. Exit code 1: a drift incident is open; 0: none; 2: error.

    A window that was checked before is only read: nothing is advanced, and nobody is told.
    """
    asked = Asked.of(window)
    with open_door(home) as door:
        shown = _shown(door, model, asked, segment)
    if as_json:
        print(json.dumps({"model": model, "windows": [one.to_document(explain=explain) for one in shown]}))
    else:
        for one in shown:
            print_window(model, one, explain=explain)
    if any(one.incident_open for one in shown):
        raise typer.Exit(INCIDENT_OPEN)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which windows to show: the newest so many, or those that share a moment with a span."""

    newest: int | None = None
    span: Window | None = None

    @classmethod
    def of(cls, text: str) -> "Asked":
        """What `--window` says.

        >>> Asked.of("2026-11-27").span.width, Asked.of("7").newest
        (datetime.timedelta(days=1), 7)
        """
        text = text.strip()
        if text == "last":
            return cls(newest=1)
        if text.isdecimal() and len(text) < 5:
            if not 0 < int(text) <= _MOST_WINDOWS:
                raise BadInput(f"expected 1 to {_MOST_WINDOWS:,} windows, got {text}")
            return cls(newest=int(text))
        first, dots, last = text.partition("..")
        start = parse_moment(first)
        if not dots and isinstance(start, datetime):
            return cls(span=span_of(start, start + timedelta(microseconds=1)))
        return cls(span=span_of(start, parse_moment(last) if dots else None))


def _shown(door: Door, name: str, asked: Asked, segment: str | None) -> list[Shown]:
    """The windows asked for; due checks are run first, unless all that is asked for was checked already."""
    from monitor.db.registry import model_named

    with door.transaction() as session:
        known = _read(session, model_named(session, name), asked) if asked.span else []
    if not known or (asked.span and known[-1].window.end < asked.span.end):
        run_due(door, name)
    with door.transaction() as session:
        model = model_named(session, name)
        found = _read(session, model, asked)
        if not found:
            raise BadInput(_nothing(session, model))
        return _explained(session, model, [_within(one, segment) for one in found], segment)


def _within(one: "DriftCheck", segment: str | None) -> "DriftCheck":
    """The check of a segment in place of that of all rows."""
    if segment is None:
        return one
    if segment not in one.segments:
        known = ", ".join(one.segments) or "none, or they are not checked yet"
        raise BadInput(f"expected a segment that was checked in {span_in_words(one.window)} ({known}), got {segment!r}")
    report = one.segments[segment] | {"reference_id": one.document.get("reference_id")}
    return replace(
        one, status=report["status"], sentence=report["sentence"], rows=report["rows"], document=report, segments={}
    )


def _read(session: "Session", model: "Model", asked: Asked) -> "list[DriftCheck]":
    from monitor.db.read_checks import drift_checks_in, newest_drift_checks

    if asked.span is not None:
        return drift_checks_in(session, model, asked.span)[-_MOST_WINDOWS:]
    return newest_drift_checks(session, model, asked.newest or 1)


def _nothing(session: "Session", model: "Model") -> str:
    """Why there is no window to show."""
    from monitor.db.read_checks import checked_span

    span = checked_span(session, model)
    if span is None:
        return (
            f"no window of {model.name} can be checked for drift yet: it needs a whole window of traffic after its "
            "reference; take some in, for example with holdfast watch"
        )
    return (
        f"expected a window among those that were checked, {span.start:%Y-%m-%d %H:%M} to {span.end:%Y-%m-%d %H:%M} "
        "UTC; the windows before are the reference, and later ones have not closed yet"
    )


def _explained(session: "Session", model: "Model", found: "list[DriftCheck]", segment: str | None) -> list[Shown]:
    """Each window with why it fired or not; a reference that several were held against is read once."""
    from monitor.db.read_declared import declared
    from monitor.drift.why import explain, scatter_of

    asleep = declared(session, model.name).snoozed
    snoozed = {name: f"until {one.until:%-d %b %Y %H:%M} UTC by {one.by}" for name, one in asleep.items()}
    numbers = {one.document.get("reference_id") or 0 for one in found}
    references = {number: _reference(session, number, segment) for number in numbers}
    scatters = {number: scatter_of(normal) for number, normal in references.items() if normal is not None}
    shown = []
    for one in found:
        number = one.document.get("reference_id") or 0
        normal = references[number]
        terms = _terms(model, one, normal.width if normal is not None else None)
        why = explain(one.report, terms, scatter=scatters.get(number), snoozed=snoozed)
        shown.append(Shown(check=one, terms=terms, why=why, ended=_is_ended(session, model, one)))
    return shown


def _reference(session: "Session", number: int, segment: str | None) -> "Normal | None":
    """What a window was held against: of all rows, or of a segment."""
    from monitor.db.registry import Reference
    from monitor.db.segments import SegmentReference
    from monitor.drift import Reference as Normal

    row = session.get(SegmentReference, (number, segment)) if segment else session.get(Reference, number)
    return Normal.from_document(row.document) if row is not None else None


def _is_ended(session: "Session", model: "Model", one: "DriftCheck") -> bool:
    """Whether the newest window was judged against a reference that is not in use any more."""
    from monitor.db.read_checks import checked_span
    from monitor.db.registry import Reference

    row, span = session.get(Reference, one.document.get("reference_id") or 0), checked_span(session, model)
    return row is not None and not row.active and span is not None and one.window.end == span.end


def _terms(model: "Model", one: "DriftCheck", width: timedelta | None) -> "Terms":
    """What the window was judged by; what the model asks for now where the run is too old to tell."""
    from monitor.db.registry import ModelSettings
    from monitor.drift import FalseAlarmBudget
    from monitor.drift.why import Terms

    if "terms" in one.document:
        return Terms.from_document(one.document["terms"])
    settings = ModelSettings.of(model)
    budget = FalseAlarmBudget(incidents=settings.incidents, per_days=settings.per_days)
    return Terms.from_document(
        {
            "incidents": settings.incidents,
            "per_days": settings.per_days,
            "ticks": budget.ticks(width or settings.tick),
            "sensitivity": settings.sensitivity,
            "overrides": settings.overrides,
        }
    )


def run_due(door: Door, name: str) -> int:
    """Run the quality and drift checks of a model that are due; how many windows of drift were checked.

    Raises:
        Unavailable: another worker holds them, and is not done within two minutes.
    """
    from monitor.db.read_checks import is_being_checked
    from monitor.db.registry import model_named, versions
    from monitor.jobs.plan import plan_model
    from monitor.jobs.worker import drain_versions

    with door.transaction() as session:
        model = model_named(session, name)
        ids = [version.id for version in versions(session, model)]
        total = _windows_due(session, model)
        plan_model(session, model, ("quality", "drift", "segment"))
    checked: list[str] = []
    with _progress(total, f"checking {name}") as advance:

        def note(kind: str) -> None:
            checked.append(kind)
            advance()

        begun = time.monotonic()
        while True:
            drain_versions(replace(door.tools, checked=note), ids, kinds=_KINDS)
            with door.transaction() as session:
                if not is_being_checked(session, ids):
                    return checked.count("drift")
            if time.monotonic() - begun > _WAIT_SECONDS:
                raise Unavailable(f"another worker is checking {name} and is not done yet: try again in a while")
            time.sleep(0.3)


def _windows_due(session: "Session", model: "Model") -> int:
    """Checks ahead: each window is looked at for quality and then for drift."""
    from monitor.jobs.due import Streams

    if model.watermark is None:
        return 0
    streams = Streams(session, model)
    return sum(2 * len(streams.due(one, "quality")) + len(streams.due(one, "drift")) for one in streams.versions)


@contextmanager
def _progress(total: int, what: str) -> Iterator[Callable[[], None]]:
    """A bar on stderr, on a terminal and where there is something to wait for."""
    if not total or not sys.stderr.isatty():
        if total:
            say(f"{what}: {(total + 1) // 2:,} windows are due")
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
