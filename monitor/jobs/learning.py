"""What a version without a reference still lacks before normal can be fitted."""

import math

from sqlalchemy.orm import Session

from monitor.drift.reference import MIN_ROWS, MIN_WINDOWS
from monitor.jobs.due import Streams
from monitor.jobs.stream import Subject


def windows_missing(session: Session, subject: Subject) -> int:
    """How many more windows of the usual size the reference needs; at least 1 before it was fitted."""
    seen = Streams(session, subject.model).traffic[subject.version.id]
    usual = max(sum(seen.values()) / max(len(seen), 1), 1.0)
    return max(MIN_WINDOWS - len(seen), math.ceil((MIN_ROWS - sum(seen.values())) / usual), 1)
