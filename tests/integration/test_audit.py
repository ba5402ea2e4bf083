from datetime import UTC, datetime
from threading import Thread

from sqlalchemy import text

from monitor.db.audit import entries, record, verify_chain
from monitor.db.engine import transaction
from tests.unguarded import unguarded

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


def test_each_entry_follows_the_one_before_it(session):
    first = record(session, "proposal.approved", by="ann", subject="proposal:18", at=NOW, model="fraud", reason="drift")
    second = record(session, "proposal.promoted", by="bob", subject="proposal:18", at=NOW)
    assert second.previous_hash == first.hash
    assert [entry.actor for entry in entries(session)] == ["ann", "bob"]
    assert [entry.actor for entry in entries(session, model="fraud")] == ["ann"]


def test_the_chain_is_intact_after_a_way_through_the_database(engine):
    with transaction(engine) as session:
        awkward = {"big": 1e22, "tiny": 1e-300, "zero": -0.0, "whole": 2.0, "list": (1, "é"), "none": None}
        record(session, "model.configured", by="ann", subject="model:1", at=NOW, **awkward)
    with transaction(engine) as session:
        assert verify_chain(session).sentence == "The audit chain is intact: 1 entry."


def test_an_altered_entry_shows(session):
    for number in range(3):
        record(session, "alert.acknowledged", by="ann", subject=f"alert:{number}", at=NOW)
    session.commit()
    with unguarded(session):
        session.execute(text("UPDATE audit SET actor = 'eve' WHERE subject = 'alert:1'"))
    session.expire_all()
    found = verify_chain(session)
    assert (found.ok, found.first_bad) == (False, 1)


def test_a_cut_tail_shows_against_a_head_kept_elsewhere(session):
    record(session, "a", by="ann", subject="s", at=NOW)
    head = record(session, "b", by="ann", subject="s", at=NOW).hash
    assert verify_chain(session, head=head).ok
    with unguarded(session):
        session.execute(text("DELETE FROM audit WHERE action = 'b'"))
    session.expire_all()
    assert verify_chain(session).ok
    assert not verify_chain(session, head=head).ok


def test_acts_at_the_same_time_do_not_fork_the_chain(engine):
    def act(name: str) -> None:
        for number in range(5):
            with transaction(engine) as session:
                record(session, "act", by=name, subject=str(number), at=NOW)

    threads = [Thread(target=act, args=(name,)) for name in ("ann", "bob", "cem")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with transaction(engine) as session:
        assert verify_chain(session).sentence == "The audit chain is intact: 15 entries."


def test_a_rolled_back_act_leaves_no_entry(session):
    record(session, "a", by="ann", subject="s", at=NOW)
    session.rollback()
    record(session, "b", by="ann", subject="s", at=NOW)
    assert [entry.action for entry in entries(session)] == ["b"]
    assert verify_chain(session).ok
