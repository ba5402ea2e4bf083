"""What machines ask a process: is it alive, can it serve, how does it fare."""

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from monitor.db.alerts import Alert, Outbox
from monitor.db.engine import ping, transaction
from monitor.db.jobs import Job
from monitor.db.migrate import check
from monitor.db.registry import Model
from monitor.errors import HoldfastError

Endpoint = Callable[[Request], Response]


def healthz(request: Request) -> Response:
    """The process answers."""
    return PlainTextResponse("ok\n")


def readyz(engine: Engine) -> Endpoint:
    """Whether the database answers and has this code's schema."""

    def ready(request: Request) -> Response:
        try:
            ping(engine)
            check(engine)
        except HoldfastError as error:
            return PlainTextResponse(f"{error}\n", status_code=503)
        return PlainTextResponse("ready\n")

    return ready


def metrics(engine: Engine) -> Endpoint:
    """Counts that tell whether work piles up, in Prometheus' text format."""

    def scrape(request: Request) -> Response:
        registry = CollectorRegistry()
        up = Gauge("holdfast_database_up", "1 when the database answers", registry=registry)
        try:
            with transaction(engine) as session:
                _fill(registry, session)
            up.set(1)
        except SQLAlchemyError:
            up.set(0)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return scrape


def _fill(registry: CollectorRegistry, session: Session) -> None:
    Gauge("holdfast_models", "Models that are monitored", registry=registry).set(
        session.scalar(select(func.count()).select_from(Model)) or 0
    )
    alerts = Gauge("holdfast_alerts", "Alerts that are not resolved", ["severity", "state"], registry=registry)
    live = select(Alert.severity, Alert.state, func.count()).where(Alert.state != "resolved")
    for severity, state, count in session.execute(live.group_by(Alert.severity, Alert.state)):
        alerts.labels(severity, state).set(count)
    jobs = Gauge("holdfast_jobs", "Jobs that are not done", ["kind", "state"], registry=registry)
    undone = select(Job.kind, Job.state, func.count()).where(Job.state.in_(("queued", "running", "dead")))
    for kind, state, count in session.execute(undone.group_by(Job.kind, Job.state)):
        jobs.labels(kind, state).set(count)
    messages = Gauge("holdfast_messages", "Messages that are owed or undeliverable", ["state"], registry=registry)
    owed = select(Outbox.state, func.count()).where(Outbox.state != "sent").group_by(Outbox.state)
    for state, count in session.execute(owed):
        messages.labels(state).set(count)
