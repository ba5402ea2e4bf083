"""Every control table, in one place: importing this module declares them all."""

from monitor.db import alerts, audit, checks, jobs, profiles, quarantine, registry, retraining, users
from monitor.db.base import Base

__all__ = ["METADATA", "alerts", "audit", "checks", "jobs", "profiles", "quarantine", "registry", "retraining", "users"]

METADATA = Base.metadata
