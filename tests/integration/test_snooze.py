"""A snoozed alert says nothing, is seen, and speaks once when its time is over and it still fires."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from monitor.acts.alerts import add_route
from monitor.acts.snoozes import snooze_alert, snooze_feature, wake_alert, wake_feature
from monitor.alerts import Message, Severity
from monitor.db.alerts import Alert, Outbox, Silence, queue_messages
from monitor.db.engine import database_now
from monitor.db.jobs import Job
from monitor.db.read_alerts import alert_list, alert_page
from monitor.db.registry import Model
from monitor.errors import BadInput, NotAllowed, StaleDecision
from monitor.governance import Actor
from monitor.jobs.plan import plan
from monitor.jobs.wake import wake
from tests.governed import ADMIN, BEGIN, DAY, OMAR, VAL, govern

HOUR = timedelta(hours=1)
NOBODY = Actor(id="vic", name="Vic", roles=frozenset({"viewer"}))


@pytest.fixture
def alert(session: Session) -> Alert:
    """A firing drift alert of two features, with a route to speak on."""
    governed = govern(session)
    now = database_now(session)
    add_route(session, name="ops", url="console:", model=None, least_severity="info", by=ADMIN, now=now)
    message = Message(title="fraud: amount moved", severity=Severity.TICKET, lines=("amount rose by 0.40σ.",))
    fired = Alert(
        model_id=governed.model.id, version_id=governed.champion.id, kind="drift", cause="drift", severity="ticket",
        state="firing", verdict="harmless_drift", starts=BEGIN, ends=BEGIN + DAY, culprits=["amount", "age"],
        message=message.to_document(),
    )  # fmt: skip
    session.add(fired)
    session.flush()
    return fired


def owe(session: Session, alert: Alert, key: str) -> int:
    return queue_messages(
        session, event="updated", message=alert.message, severity="ticket", model_id=alert.model_id, alert_id=alert.id,
        key=key,
    )  # fmt: skip


def is_over(session: Session) -> None:
    """Let every snooze's time pass."""
    session.execute(update(Silence).values(until=database_now(session) - timedelta(seconds=1)))


def test_a_snoozed_alert_says_nothing_and_is_shown_as_snoozed(session: Session, alert: Alert):
    now = database_now(session)
    snooze_alert(session, alert, until=now + HOUR, reason="known campaign", by=OMAR, now=now)
    assert owe(session, alert, "k") == 0
    (line,) = alert_list(session).live
    assert (line.state, line.snoozed.reason, line.snoozed.by) == ("firing", "known campaign", "omar")
    assert alert_list(session).headline == "1 alert open, all snoozed"
    assert [event.what for event in alert_page(session, alert.id).timeline] == ["fired", "snoozed"]


def test_when_the_time_ends_it_speaks_once_if_it_still_fires(session: Session, alert: Alert):
    now = database_now(session)
    snooze_alert(session, alert, until=now + HOUR, reason="known campaign", by=OMAR, now=now)
    assert wake(session, now) == 0
    is_over(session)
    assert [wake(session, now) for _ in range(2)] == [1, 0]
    told = session.scalars(select(Outbox.message)).one()
    assert told["title"] == "fraud: amount moved"
    assert "(known campaign) and still fires" in told["lines"][0]


def test_what_no_longer_fires_stays_quiet(session: Session, alert: Alert):
    now = database_now(session)
    snooze_alert(session, alert, until=now + HOUR, reason="known campaign", by=OMAR, now=now)
    alert.state = "resolved"
    is_over(session)
    assert wake(session, now) == 0


def test_the_planner_wakes_what_is_over(session: Session, alert: Alert):
    now = database_now(session)
    snooze_alert(session, alert, until=now + HOUR, reason="known campaign", by=OMAR, now=now)
    plan(session)
    assert "wake" not in session.scalars(select(Job.kind)).all()
    is_over(session)
    for _ in range(2):
        plan(session)
    assert session.scalars(select(Job.kind).where(Job.kind == "wake")).all() == ["wake"]


def test_a_snoozed_feature_is_quiet_until_another_one_is_in_it_too(session: Session, alert: Alert):
    now, model = database_now(session), session.get_one(Model, alert.model_id)
    snooze_feature(session, model, "amount", until=now + HOUR, reason="campaign", by=OMAR, now=now)
    assert owe(session, alert, "both moved") == 1
    alert.culprits = ["amount"]
    session.flush()
    assert owe(session, alert, "amount alone") == 0
    assert alert_list(session).live[0].snoozed.reason == "campaign"
    is_over(session)
    assert wake(session, now) == 1


def test_snoozing_again_moves_its_end_and_the_same_again_is_stale(session: Session, alert: Alert):
    now = database_now(session)
    for hours in (1, 3):
        snooze_alert(session, alert, until=now + hours * HOUR, reason="campaign", by=OMAR, now=now)
    assert alert_list(session).live[0].snoozed.until == now + 3 * HOUR
    with pytest.raises(StaleDecision, match="is snoozed until"):
        snooze_alert(session, alert, until=now + 3 * HOUR, reason="campaign", by=OMAR, now=now)
    assert wake(session, now + 2 * HOUR) == 0


def test_a_snooze_that_a_person_ends_lets_messages_through_and_sends_none_itself(session: Session, alert: Alert):
    now = database_now(session)
    model = session.get_one(Model, alert.model_id)
    snooze_alert(session, alert, until=now + HOUR, reason="campaign", by=OMAR, now=now)
    snooze_feature(session, model, "age", until=now + HOUR, reason="campaign", by=OMAR, now=now)
    wake_alert(session, alert, by=VAL, now=now)
    wake_feature(session, model, "age", by=VAL, now=now)
    assert (wake(session, now), owe(session, alert, "k")) == (0, 1)
    with pytest.raises(StaleDecision, match="is not snoozed itself"):
        wake_alert(session, alert, by=VAL, now=now)
    with pytest.raises(StaleDecision, match="age of fraud is not snoozed"):
        wake_feature(session, model, "age", by=VAL, now=now)


def test_an_impossible_snooze_is_a_sentence(session: Session, alert: Alert):
    now, model = database_now(session), session.get_one(Model, alert.model_id)
    with pytest.raises(BadInput, match="expected a reason"):
        snooze_alert(session, alert, until=now + HOUR, reason="  ", by=OMAR, now=now)
    with pytest.raises(BadInput, match="within 90 days"):
        snooze_alert(session, alert, until=now + 91 * DAY, reason="long", by=OMAR, now=now)
    with pytest.raises(BadInput, match="expected a feature of fraud .*, got 'amont'"):
        snooze_feature(session, model, "amont", until=now + HOUR, reason="typo", by=OMAR, now=now)
    with pytest.raises(NotAllowed):
        snooze_alert(session, alert, until=now + HOUR, reason="x", by=NOBODY, now=now)
    alert.state = "resolved"
    session.flush()
    with pytest.raises(StaleDecision, match="nothing to snooze"):
        snooze_alert(session, alert, until=now + HOUR, reason="late", by=OMAR, now=now)
