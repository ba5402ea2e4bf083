"""Where every model's rows come from, and how the last look at each went."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.registry import Model, Source

_UNITS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, kw_only=True)
class SourceLine:
    """A source as a list shows it; its location holds no password."""

    model: str
    name: str
    kind: str
    location: str
    every_seconds: int | None  # None: when somebody asks
    paused: bool
    pulled_at: datetime | None
    due_at: datetime | None
    failures: int  # looks in a row at which something could not be read
    last_error: str | None

    @property
    def pace(self) -> str:
        """How often it is read, in words."""
        if self.every_seconds is None:
            return "when asked"
        unit, length = [one for one in _UNITS.items() if self.every_seconds % one[1] == 0][-1]
        return f"every {self.every_seconds // length} {unit}"

    @property
    def state(self) -> str:
        """In a word."""
        if self.paused:
            return "paused"
        if self.failures:
            return "failing"
        return "read" if self.pulled_at else "waiting"


def source_lines(session: Session) -> list[SourceLine]:
    """Every source: those that fail first, then by model and name."""
    found = session.execute(select(Model.name, Source).join(Model, Source.model_id == Model.id)).all()
    lines = [
        SourceLine(
            model=model, name=source.name, kind=source.kind, location=source.location,
            every_seconds=source.every_seconds, paused=source.paused, pulled_at=source.pulled_at, due_at=source.due_at,
            failures=source.failures, last_error=source.last_error,
        )
        for model, source in found
    ]  # fmt: skip
    return sorted(lines, key=lambda line: (line.state != "failing", line.model, line.name))
