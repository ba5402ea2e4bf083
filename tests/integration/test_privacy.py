"""What is never stored, how long the rest is kept, and somebody's deletion."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from monitor.acts.privacy import configure_privacy, erase_entity
from monitor.acts.quarantine import retake, waiting
from monitor.db.audit import entries
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import claim, enqueue
from monitor.db.quarantine import Quarantined
from monitor.db.registry import Model, ModelSettings, model_named
from monitor.db.traces import read_traces, span
from monitor.errors import BadInput, NotAllowed
from monitor.governance import Actor, Role
from monitor.intake.formats import LINES, read
from monitor.intake.ingest import advance_watermark, ingest
from monitor.intake.labels import ingest_labels
from monitor.intake.receive import take_traces
from monitor.jobs import retain
from monitor.vectors import Vector
from tests.commands import Commands
from tests.governed import tools_for
from tests.integration.test_intake import DAY, FRAME, MARCH, add_model, profile
from tests.unguarded import unguarded

OLGA = Actor(id="olga", name="olga", roles=frozenset({Role.OPERATOR}))
EVE = Actor(id="eve", name="eve", roles=frozenset({Role.VIEWER}))


@pytest.fixture
def model(session: Session) -> Model:
    with unguarded(session):
        return add_model(session)


def configure(session: Session, model: Model, **settings: object) -> ModelSettings:
    return configure_privacy(session, model, **settings, by=OLGA, now=database_now(session))  # type: ignore[arg-type]


def test_an_unstored_feature_is_counted_and_leaves_no_value(session, model):
    configure(session, model, unstored=["amount"])
    taken = ingest(session, model, FRAME)
    counted = profile(session, model)
    assert counted is not None
    assert taken.accepted == counted.rows == 200
    assert counted.mean("amount") == pytest.approx(FRAME["amount"].mean())
    assert read_traces(session, model, MARCH)["amount"].isna().all()


@pytest.mark.parametrize("form", [lambda frame: frame, lambda frame: pa.Table.from_pandas(frame, preserve_index=False)])
def test_a_hashed_category_keeps_its_groups_and_not_its_names(session, model, form):
    settings = configure(session, model, hashed=["channel"])
    ingest(session, model, form(FRAME))
    read = read_traces(session, model, MARCH)
    assert not set(read["channel"]) & {"app", "web"}
    assert pd.factorize(read["channel"])[0].tolist() == pd.factorize(FRAME["channel"])[0].tolist()
    assert len(settings.hash_key) == 32


def test_an_unstored_vector_is_watched_by_what_does_not_give_it_back(session):
    with unguarded(session):
        wide, short = Vector(name="wide", size=9), Vector(name="short", size=8)
        model = add_model(session, vectors=(wide, short))
    settings = configure(session, model, unstored=["wide", "short"])
    assert settings.unstored == sorted(["wide", "short", *short.summaries])
    vectors = np.random.default_rng(0).normal(size=(len(FRAME), 17))
    ingest(session, model, FRAME.assign(wide=vectors[:, :9].tolist(), short=vectors[:, 9:].tolist()))
    assert session.execute(text("SELECT count(wide), count(short) FROM traces.fraud")).one() == (0, 0)
    read = read_traces(session, model, MARCH)
    assert read[list(wide.summaries)].notna().all(axis=None)
    assert read[list(short.summaries)].isna().all(axis=None)
    refused = FRAME[:1].assign(trace_id="x", wide=[[12345.5] * 8], short=[[12345.5] * 8])
    ingest(session, model, refused)
    assert "12345" not in session.scalars(select(Quarantined.raw)).one()
    with pytest.raises(BadInput, match="expected categories to hash, got the vector wide"):
        configure(session, model, hashed=["wide"])


def test_refused_rows_are_hashed_before_they_wait_for_a_person(session, model):
    configure(session, model, hashed=["channel"])
    ingest(session, model, FRAME[:3].assign(trace_id=["", "b", "c"], channel="secret town"))
    assert "secret town" not in session.scalars(select(Quarantined.raw)).one()


def test_a_reason_does_not_quote_what_is_not_stored(session, model):
    configure(session, model, unstored=["channel"])
    taken = ingest(session, model, FRAME[:3].assign(channel=[["Ada", "Lovelace"], "web", "app"]))
    assert "Ada" in taken.bad[0].reason  # who sent it is told
    assert session.scalars(select(Quarantined.reason)).one() == "channel: expected one value, got what is not stored"


def test_refused_rows_hold_nothing_of_what_is_not_stored(session, model):
    configure(session, model, unstored=["amount"], hashed=["channel"])
    ingest(session, model, FRAME[:3].assign(trace_id=["", "b", "c"], amount=123456.5))
    broken = b'{"trace_id": "x", "amount": 123456.5, "channel": "secret town"\n7'
    take_traces(session, "fraud", read(broken, LINES))
    kept = session.scalars(select(Quarantined.raw)).all()
    assert len(kept) == 3
    assert not [raw for raw in kept if "123456" in raw or "secret town" in raw]


def test_a_field_that_is_renamed_to_a_hashed_one_is_hashed(session, model):
    configure(session, model, hashed=["channel"])
    ingest(session, model, FRAME[:1])
    sent = FRAME[1:2].rename(columns={"channel": "via", "trace_id": "id"}).assign(trace_id="", via="secret town")
    ingest(session, model, sent)
    rename = {"via": "channel", "id": "trace_id", "trace_id": "was"}
    found = retake(session, model, waiting(session, model), rename=rename, by=OLGA, now=database_now(session))
    assert found.taken == 1
    assert "secret town" not in set(read_traces(session, model, MARCH)["channel"])


def test_everything_about_somebody_is_deleted_and_does_not_come_in_again(session, model):
    people = FRAME.assign(entity=np.where(np.arange(200) % 4 == 0, "Ann O'Neil", "bob"))
    ingest(session, model, people)
    ingest_labels(session, model, pd.DataFrame({"trace_id": ["t0", "t1"], "label": [1, 0], "label_time": DAY}))
    ingest(session, model, people[:2].assign(trace_id=""))
    stored = session.scalar(text(f"SELECT string_agg(t::text, '') FROM traces.m{model.id} t"))
    assert "Neil" not in (stored or "")
    erased = erase_entity(session, model, "Ann O'Neil", reason="asked to", by=OLGA, now=database_now(session))
    assert (erased.traces, erased.labels, erased.quarantined) == (50, 1, 1)
    assert len(read_traces(session, model, MARCH)) == 150
    assert ingest(session, model, people).duplicate == 200
    assert len(read_traces(session, model, MARCH)) == 150
    noted = list(entries(session))[-1]
    assert noted.action == "entity.erased"
    assert "Neil" not in str(noted.details)


def test_of_a_model_whose_rows_name_nobody_there_is_nothing_to_delete(session, model):
    ingest(session, model, FRAME)
    assert erase_entity(session, model, "ann", reason="asked to", by=OLGA, now=database_now(session)).traces == 0


def test_days_that_are_over_are_dropped_and_days_ahead_are_made(engine, tmp_path: Path):
    with transaction(engine) as session, unguarded(session):
        model = add_model(session)
    with transaction(engine) as session:
        ingest(session, model_named(session, "fraud"), FRAME)
        advance_watermark(session, model_named(session, "fraud"), DAY + timedelta(days=10))
        configure(session, model_named(session, "fraud"), keep_days=9)
        enqueue(session, "retain", stream="retain", payload={}, by="test")
    with transaction(engine) as session:
        job = claim(session, worker="test", lease=timedelta(minutes=1))
    assert job is not None
    retain.run(tools_for(engine, tmp_path), job)
    with transaction(engine) as session:
        kept = span(session, model_named(session, "fraud"))
        assert kept is not None
        assert kept[0] == DAY + timedelta(days=1)
        ahead = f"traces.m{model.id}_p{DAY + timedelta(days=13):%Y%m%d}"
        assert session.scalar(text(f"SELECT to_regclass('{ahead}') IS NOT NULL"))
        assert ingest(session, model_named(session, "fraud"), FRAME[:10]).quarantined == 10


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"unstored": ["amounts"]}, "expected a feature of fraud \\(amount, channel\\), got 'amounts'"),
        ({"hashed": ["amount"]}, "expected categories to hash, got the number amount"),
        ({"keep_days": 2}, "at least three windows"),
    ],
)
def test_what_cannot_be_is_refused(session, model, settings, sentence):
    with pytest.raises(BadInput, match=sentence):
        configure(session, model, **settings)


def test_only_an_operator_may_and_only_with_a_reason(session, model):
    with pytest.raises(NotAllowed):
        erase_entity(session, model, "ann", reason="asked to", by=EVE, now=DAY)
    with pytest.raises(BadInput, match="a reason"):
        erase_entity(session, model, "ann", reason="", by=OLGA, now=DAY)


def test_the_command_line_says_what_is_kept_and_deletes(engine, database_url: str, tmp_path: Path):
    with transaction(engine) as session, unguarded(session):
        model = add_model(session)
        ingest(session, model, FRAME.assign(entity="ann"))
    holdfast = Commands(url=database_url, home=tmp_path)
    said = holdfast.well("privacy", "fraud", "--keep-days", 90, "--unstored", "amount", "--hashed", "channel")
    assert "kept for 90 days" in said
    assert "not stored: amount" in said
    assert "kept for ever" in holdfast.well("privacy", "fraud", "--keep-days", 0, "--hashed", "")
    assert "200 traces, 0 labels" in holdfast.well("erase", "fraud", "ann", "--why", "asked to")
