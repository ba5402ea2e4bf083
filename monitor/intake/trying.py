"""The first rows of a source, looked at before it is declared: what does not fit is said while a person is there."""

from collections.abc import Iterator

from monitor.errors import BadInput
from monitor.intake.columns import Columns, read_rows
from monitor.intake.sources.contract import TraceSource
from monitor.schema import Schema

MOST_NAMED = 8


def first_rows(origin: TraceSource, columns: Columns, schema: Schema) -> Iterator[str]:
    """What the first part of a source says of it; nothing is stored.

    Raises:
        BadInput: its columns are not those that were said, or it has none of the model's features.
        Unavailable: it cannot be reached.
    """
    found = next(((piece, part) for piece in origin.pieces() for part in piece.parts(None) if len(part.frame)), None)
    if found is None:
        yield "there are no rows yet"
        return
    piece, part = found
    rows = read_rows(part.frame, columns, name=piece.name)
    bad = len(rows.bad) + len(part.bad)
    yield f"{piece.name}: the first {len(rows.good):,} rows can be read" + (f", {bad:,} cannot" if bad else "")
    if columns.labels_only or rows.good.empty:
        return
    missing = [name for name in schema.fields if name not in rows.good.columns]
    if len(missing) == len(schema.fields):
        raise BadInput(f"expected features such as {', '.join(schema.fields[:5])}, {piece.name} has none of them")
    if missing:
        more = len(missing) - MOST_NAMED
        told = ", ".join(missing[:MOST_NAMED]) + (f" and {more:,} others" if more > 0 else "")
        yield f"without {told}: they count as missing in every row"
