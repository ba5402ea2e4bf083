from datetime import timedelta

import pytest
from sqlalchemy import Engine, select, text, update

from monitor.db import jobs
from monitor.db.engine import database_now, sessions, transaction
from monitor.db.jobs import Job
from monitor.errors import LeaseLost

LEASE = timedelta(seconds=30)


def queue(engine: Engine, *streams: str) -> list[int | None]:
    with transaction(engine) as session:
        return [jobs.enqueue(session, "check_drift", stream=name, payload={"n": 1}, by="plan") for name in streams]


def claim(engine: Engine, worker: str = "w1") -> jobs.Claimed:
    with transaction(engine) as session:
        claimed = jobs.claim(session, worker=worker, lease=LEASE)
    assert claimed is not None
    return claimed


def lapse(engine: Engine, claimed: jobs.Claimed) -> None:
    with transaction(engine) as session:
        session.execute(update(Job).where(Job.id == claimed.id).values(lease_until=text("now() - interval '1 s'")))


def state_of(engine: Engine, job_id: int | None) -> str:
    with transaction(engine) as session:
        return session.scalars(select(Job.state).where(Job.id == job_id)).one()


def test_a_stream_has_one_live_job(engine):
    first, second, other = queue(engine, "v1:drift", "v1:drift", "v1:quality")
    assert (first is not None, second, other is not None) == (True, None, True)


def test_a_stream_is_free_again_when_its_job_is_done(engine):
    queue(engine, "a")
    claimed = claim(engine)
    assert queue(engine, "a") == [None]
    with transaction(engine) as session:
        jobs.complete(session, claimed)
    assert queue(engine, "a") != [None]


def test_two_sessions_that_claim_at_once_never_get_the_same_job(engine):
    queue(engine, "a", "b")
    with sessions(engine)() as one, sessions(engine)() as two:
        first = jobs.claim(one, worker="one", lease=LEASE)
        second = jobs.claim(two, worker="two", lease=LEASE)
        nothing = jobs.claim(two, worker="two", lease=LEASE)
        assert first is not None
        assert second is not None
        assert (first.stream, second.stream, nothing) == ("a", "b", None)


def test_a_claim_carries_the_payload_and_counts_the_attempt(engine):
    (job_id,) = queue(engine, "a")
    claimed = claim(engine)
    assert (claimed.id, claimed.kind, claimed.payload, claimed.attempts) == (job_id, "check_drift", {"n": 1}, 1)


def test_only_the_kinds_asked_for_are_claimed(session):
    jobs.enqueue(session, "retrain", stream="a", payload={}, by="ada")
    assert jobs.claim(session, worker="w", lease=LEASE, kinds=["deliver"]) is None
    assert jobs.claim(session, worker="w", lease=LEASE, kinds=["deliver", "retrain"]) is not None


def test_a_job_for_later_is_live_but_not_due(session):
    later = database_now(session) + timedelta(hours=1)
    jobs.enqueue(session, "report", stream="a", payload={}, by="plan", run_at=later)
    assert jobs.claim(session, worker="w", lease=LEASE) is None
    assert jobs.has_live(session)


def test_completing_with_a_stale_token_rolls_the_effect_back(engine):
    queue(engine, "a")
    slow = claim(engine, "slow")
    lapse(engine, slow)
    with transaction(engine) as session:
        assert jobs.reap(session) == 1
    quick = claim(engine, "quick")
    with pytest.raises(LeaseLost, match="no longer held by slow"), transaction(engine) as session:  # noqa: PT012
        jobs.enqueue(session, "deliver", stream="effect", payload={}, by="slow")
        jobs.complete(session, slow)
    with transaction(engine) as session:
        assert session.scalar(select(Job).where(Job.stream == "effect")) is None
        jobs.complete(session, quick)


def test_a_heartbeat_holds_the_lease_and_fails_once_it_is_lost(engine):
    queue(engine, "a")
    claimed = claim(engine)
    lapse(engine, claimed)
    with transaction(engine) as session:
        jobs.heartbeat(session, claimed, LEASE)
        assert jobs.reap(session) == 0
    lapse(engine, claimed)
    with transaction(engine) as session:
        jobs.reap(session)
    with pytest.raises(LeaseLost), transaction(engine) as session:
        jobs.heartbeat(session, claimed, LEASE)


def test_a_failed_job_waits_and_its_error_is_kept(engine):
    queue(engine, "a")
    with transaction(engine) as session:
        claimed = jobs.claim(session, worker="w", lease=LEASE)
        assert claimed is not None
        assert jobs.fail(session, claimed, "ValueError: 7") == "queued"
        job = session.scalars(select(Job)).one()
        assert job.last_error == "ValueError: 7"
        assert timedelta(0) <= job.run_at - database_now(session) < timedelta(seconds=4)


def test_the_backoff_doubles_up_to_ten_minutes():
    waits = [jobs.backoff(attempts, 0.5).total_seconds() for attempts in (1, 2, 3, 30)]
    assert waits == [1.0, 2.0, 4.0, 300.0]


def test_a_job_that_failed_five_times_is_dead(engine):
    (job_id,) = queue(engine, "a")
    states = []
    for _ in range(5):
        claimed = claim(engine)
        with transaction(engine) as session:
            states.append(jobs.fail(session, claimed, "no"))
            session.execute(update(Job).values(run_at=text("now() - interval '1 s'")))
    assert states == ["queued"] * 4 + ["dead"]
    assert state_of(engine, job_id) == "dead"


def test_a_job_that_kills_its_worker_five_times_is_dead(engine):
    (job_id,) = queue(engine, "a")
    for _ in range(5):
        lapse(engine, claim(engine))
        with transaction(engine) as session:
            jobs.reap(session)
    assert state_of(engine, job_id) == "dead"


def test_a_queued_job_is_cancelled_at_once(engine):
    (job_id,) = queue(engine, "a")
    with transaction(engine) as session:
        assert jobs.request_cancel(session, job_id)
    assert state_of(engine, job_id) == "cancelled"
    with transaction(engine) as session:
        assert not jobs.request_cancel(session, job_id)
        assert not jobs.has_live(session)


def test_a_running_job_learns_that_it_should_stop(engine):
    (job_id,) = queue(engine, "a")
    claimed = claim(engine)
    with transaction(engine) as session:
        assert not jobs.cancelled(session, claimed)
        assert jobs.request_cancel(session, claimed.id)
        assert jobs.cancelled(session, claimed)
        jobs.end_cancelled(session, claimed)
    assert state_of(engine, job_id) == "cancelled"
