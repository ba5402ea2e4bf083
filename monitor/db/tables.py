"""Every control table, in one place: importing this module declares them all."""

from monitor.db import (
    alerts,
    audit,
    calendar,
    checks,
    jobs,
    profiles,
    quarantine,
    registry,
    retraining,
    segments,
    users,
)
from monitor.db.base import Base

__all__ = [
    "METADATA", "alerts", "audit", "calendar", "checks", "jobs", "profiles", "quarantine", "registry", "retraining",
    "segments", "users",
]  # fmt: skip

METADATA = Base.metadata
