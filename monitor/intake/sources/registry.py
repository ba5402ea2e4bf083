"""The kinds of sources: a new one is a module that keeps the contract, and a line here."""

import importlib

from monitor.db.base import Json
from monitor.errors import BadInput
from monitor.intake.columns import Columns
from monitor.intake.sources.contract import Secret, TraceSource

KINDS = {
    "files": "monitor.intake.sources.files:FileSource",
    "sql": "monitor.intake.sources.sql:SqlSource",
}


def source_class(kind: str) -> type[TraceSource]:
    """The class behind a kind, imported when it is first needed."""
    if kind not in KINDS:
        raise BadInput(f"expected a source of kind {', '.join(KINDS)}, got {kind!r}")
    module, _, name = KINDS[kind].partition(":")
    found: type[TraceSource] = getattr(importlib.import_module(module), name)
    return found


def open_source(kind: str, location: str, *, settings: Json, columns: Columns, secret: Secret) -> TraceSource:
    """A source as it was declared; nothing is reached for yet.

    Raises:
        BadInput: no such kind, or nothing could ever be read by this.
    """
    return source_class(kind)(location, settings=settings, columns=columns, secret=secret)
