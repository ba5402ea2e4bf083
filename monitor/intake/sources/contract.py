"""What a source of traces is: pieces that are read part by part, from the mark after the part stored last.

Files are pieces of a pattern, a table is one piece, a partition of a stream would be one. The bookmark of a source
holds one mark a piece, so that a piece that cannot be read keeps its place and does not hold up the others.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import pandas as pd

from monitor.db.base import Json
from monitor.intake.columns import Columns
from monitor.intake.validate import BadRow

MOST_ROWS = 50_000  # of a part, which is taken in one transaction
LEAST_ROWS = 1_000
MOST_VALUES = 2_500_000  # of a part: 50,000 rows of 50 columns
MOST_BYTES = 16 * 2**20  # of a part as it is written in a file
Secret = Callable[[str], str]  # the value of an environment variable, empty where nobody set it


def rows_of_a_part(columns: int) -> int:
    """How many rows a part holds at most: fewer of a wide table, so that any part fits into memory.

    >>> rows_of_a_part(20), rows_of_a_part(500)
    (50000, 5000)
    """
    return max(LEAST_ROWS, min(MOST_ROWS, MOST_VALUES // max(1, columns)))


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows that follow a mark, and the mark that follows them.

    The index of `frame` is each row's number in its piece, from 0, where the piece has one: it makes the id of a row
    that has none. `bad` are rows that could not be read; their position is that number too.
    """

    frame: pd.DataFrame
    mark: Json
    bad: tuple[BadRow, ...] = ()


class Piece(Protocol):
    """A sequence of rows that only grows at its end, or is replaced as a whole."""

    @property
    def key(self) -> str:
        """What it is called in the bookmark; it stays the same."""

    @property
    def name(self) -> str:
        """What it is called to people, and in the ids of rows that have none."""

    def parts(self, mark: Json | None) -> Iterator[Part]:
        """What follows a mark, in parts that fit into memory; nothing where nothing is new.

        A mark is JSON. Reading on from the mark of any part gives exactly the parts after it.

        Raises:
            BadInput: it cannot be read as it is; the parts before that are good.
            Unavailable: it cannot be reached now, or went away.
        """


class TraceSource(Protocol):
    """What rows come from, as it was declared."""

    def __init__(self, location: str, *, settings: Json, columns: Columns, secret: Secret) -> None:
        """Check what was declared and reach for nothing.

        Raises:
            BadInput: nothing could ever be read by this.
        """

    @staticmethod
    def remembered(location: str) -> str:
        """The location as it is kept: a path without the folder it was said in would lead elsewhere tomorrow."""

    def pieces(self) -> Iterable[Piece]:
        """The pieces that are there now, in a fixed order.

        Raises:
            Unavailable: it cannot be reached now.
        """
