"""The API as a process of its own: probes and `/v1`, without the dashboard."""

from starlette.applications import Starlette
from starlette.routing import Mount, Route

from monitor.api.app import api
from monitor.api.probes import healthz, metrics, readyz
from monitor.api.storing import InProcesses
from monitor.db.engine import make_engine
from monitor.errors import BadInput
from monitor.settings import Settings


def app() -> Starlette:
    """For `uvicorn --factory`: serves the database of the settings."""
    settings = Settings.load()
    if settings.database_url is None:
        raise BadInput("expected DATABASE_URL: the API serves a given database")
    engine = make_engine(settings.database_url)
    storing = InProcesses(settings.database_url, settings.intake_processes)
    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz(engine)),
            Route("/metrics", metrics(engine)),
            Mount("/v1", api(engine, settings.artifact_dir, storing=storing)),
        ]
    )
