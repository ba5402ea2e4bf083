"""What the door was opened on: one database and one store of artefacts a process, shared with the Streamlit script."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Engine

from monitor.db.audit_heads import Keeper
from monitor.db.embedded import running
from monitor.db.engine import make_engine
from monitor.errors import Unavailable
from monitor.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the rows and the files are."""

    database_url: str
    artifact_dir: Path
    keeper: Keeper | None = None  # where signed heads of the audit trail are
    intake_processes: int = 2  # how many may store traces at once

    @classmethod
    def from_settings(cls, settings: Settings) -> "Place":
        """The configured database, else the embedded one where it runs."""
        url = settings.database_url or running(settings.home)
        if url is None:
            raise Unavailable(
                f"expected a database: set DATABASE_URL, or start the one of {settings.home} with `holdfast up`"
            )
        keeper = Keeper.of(settings.home, settings.audit_sink)
        return cls(
            database_url=url, artifact_dir=settings.artifact_dir, keeper=keeper,
            intake_processes=settings.intake_processes,
        )  # fmt: skip


class _Chosen:
    place: Place | None = None


def use(place: Place) -> None:
    """Serve this place from now on; `build` calls it once, tests once a database."""
    _Chosen.place = place


def here() -> Place:
    """The place in use; without one, the environment's."""
    if _Chosen.place is None:
        use(Place.from_settings(Settings.load()))
    assert _Chosen.place is not None
    return _Chosen.place


@lru_cache(maxsize=4)
def engine_of(database_url: str) -> Engine:
    """One engine a database: pages, routes and the API share its pool."""
    return make_engine(database_url, pool_size=10)


def engine() -> Engine:
    """The engine of the place in use."""
    return engine_of(here().database_url)
