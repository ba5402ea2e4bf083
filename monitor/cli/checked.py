"""A checked window on a terminal: a line, a table of the features, and why it fired or not."""

import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from monitor.windows import Window

if TYPE_CHECKING:
    from monitor.db.read_checks import DriftCheck
    from monitor.drift.why import Terms, Why

_NEAREST = 3  # features that are explained though they did not move


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A window with the explanation of its check."""

    check: "DriftCheck"
    terms: "Terms"
    why: "Why"
    ended: bool  # it is the newest window, and a new baseline was accepted after it

    @property
    def incident_open(self) -> bool:
        return self.check.is_open and not self.ended

    def to_document(self, *, explain: bool) -> dict[str, Any]:
        """As plain JSON values."""
        report = self.check.report
        kept = ("status", "state", "alarm", "reopened", "rows", "sentence", "culprits", "expected", "features")
        span = {"start": self.check.window.start.isoformat(), "end": self.check.window.end.isoformat()}
        document = {
            "version": self.check.version,
            "window": span,
            "incident_open": self.incident_open,
            **{name: report[name] for name in kept if name in report},
            "segments": self.check.segments,
        }
        return document | ({"why": self.why.to_document()} if explain else {})


def print_window(model: str, one: Shown, *, explain: bool) -> None:
    """What was found in a window, and with `explain` why."""
    check, report = one.check, one.check.report
    state = f", {report['state']}" if report.get("state") else ""
    print(f"{model} {check.version}, {span_in_words(check.window)}: {check.rows:,} rows, {check.status}{state}")
    print(f"  {one.why.model[0]}")
    if one.ended:
        print("  A new baseline was accepted since: the incident is over, and the next window is held against it.")
    if report.get("features"):
        _print_table(one)
    for name, found in check.segments.items():
        print(f"  segment {name}: {found['rows']:,} rows, {found['state']}: {found['sentence']}")
    if not explain:
        print()
        return
    if one.why.model[1:] or one.why.features:
        print("Why")
    for sentence in one.why.model[1:]:
        print(f"  {sentence}")
    for name in _worth_telling(one):
        print(f"  {name}")
        for sentence in one.why.features[name]:
            print(f"    {sentence}")
    print()


def _worth_telling(one: Shown) -> list[str]:
    """The features that moved, and those nearest to firing; --json holds all of them."""
    features = one.check.report.get("features") or {}
    moved = [name for name in one.why.features if features[name].get("moved")]
    tested = [name for name in one.why.features if features[name].get("p_value") is not None]
    return list(dict.fromkeys([*moved, *(tested or list(one.why.features))[:_NEAREST]]))


def _print_table(one: Shown) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, justify in _COLUMNS:
        table.add_column(name, justify=justify, overflow="fold")
    features = one.check.report["features"]
    for name in one.why.features:
        table.add_row(*_row(features[name], one.terms), style="bold" if features[name].get("moved") else None)
    width = None if sys.stdout.isatty() else 160
    Console(file=sys.stdout, width=width, highlight=False, markup=False).print(table)


_COLUMNS: tuple[tuple[str, Any], ...] = (
    ("feature", "left"), ("status", "left"), ("effect [95 % interval]", "left"), ("threshold", "right"),
    ("evidence", "right"), ("lane", "left"), ("what", "left"),
)  # fmt: skip


def _row(feature: dict[str, Any], terms: "Terms") -> tuple[str, ...]:
    """A feature's cells; evidence is how near it is to firing."""
    from monitor.drift.why import nearness

    tested = feature.get("p_value") is not None
    muted = terms.of(feature["name"]).is_muted
    low, high = feature["interval"]
    threshold = feature.get("threshold")
    return (
        feature["name"],
        "muted" if muted else feature["status"],
        f"{feature['effect']:+.3f} [{low:+.3f}, {high:+.3f}]" if tested else "",
        f"{threshold:.3f}" if tested and threshold is not None else "",
        f"{100 * nearness(feature, terms):.0f} %" if tested and not muted else "",
        feature.get("lane") or "",
        feature.get("sentence") or "",
    )


def span_in_words(window: Window) -> str:
    """A day as a day, anything else from its beginning to its end."""
    whole = window.start.time() == window.end.time() == datetime.min.time()
    pattern = "%Y-%m-%d" if whole else "%Y-%m-%d %H:%M"
    if whole and window.width == timedelta(days=1):
        return f"{window.start:%Y-%m-%d}"
    return f"{window.start.strftime(pattern)} to {window.end.strftime(pattern)} UTC"
