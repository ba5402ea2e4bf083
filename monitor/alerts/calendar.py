"""Days on which the data may differ and nobody should be called: holidays, campaigns, maintenance of a source."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from monitor.errors import BadInput
from monitor.windows import Window

LONGEST_NAME = 120
LONGEST = timedelta(days=366)


@dataclass(frozen=True, kw_only=True)
class ExpectedEvent:
    """Something known beforehand; with `yearly` it comes back on the same dates of every year.

    A day that a year does not have (29 February) is left out in that year.

    >>> from datetime import UTC, datetime
    >>> christmas = Window(datetime(2024, 12, 24, tzinfo=UTC), datetime(2024, 12, 27, tzinfo=UTC))
    >>> event = ExpectedEvent(name="Christmas", span=christmas, yearly=True)
    >>> event.overlaps(Window(datetime(2026, 12, 26, tzinfo=UTC), datetime(2026, 12, 27, tzinfo=UTC)))
    True
    >>> event.overlaps(Window(datetime(2026, 12, 27, tzinfo=UTC), datetime(2026, 12, 28, tzinfo=UTC)))
    False
    """

    name: str
    span: Window
    yearly: bool = False

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > LONGEST_NAME or not self.name.isprintable():
            raise BadInput(f"expected a name of 1 to {LONGEST_NAME} printable characters, got {self.name[:40]!r}")
        if self.span.width > LONGEST:
            raise BadInput(
                f"expected an event of at most {LONGEST.days} days, got {self.name} of {self.span.width.days}: "
                "what lasts longer is a new normal, accept it as the baseline"
            )

    def overlaps(self, window: Window) -> bool:
        """Whether an occurrence of it shares a moment with the window."""
        return any(occurrence.overlaps(window) for occurrence in self._occurrences(window))

    def _occurrences(self, window: Window) -> Iterator[Window]:
        if not self.yearly:
            yield self.span
            return
        first = max(self.span.start.year, (window.start - self.span.width).year)  # it began then in its first year
        for year in range(first, window.end.year + 1):
            try:
                start = self.span.start.replace(year=year)
            except ValueError:  # 29 February
                continue
            yield Window(start, start + self.span.width)


def expected_in(events: Iterable[ExpectedEvent], window: Window) -> str | None:
    """The names of the events that a window overlaps, each once, in alphabetical order; None without any."""
    return ", ".join(sorted({event.name for event in events if event.overlaps(window)})) or None
