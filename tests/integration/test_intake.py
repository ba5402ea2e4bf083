from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from monitor.batch import keys_of
from monitor.db.audit import entries
from monitor.db.engine import database_now
from monitor.db.profiles import ProfileDelta, read_profile
from monitor.db.quarantine import Quarantined
from monitor.db.registry import FeatureSchema, Model, ModelSettings, Reference, Version, versions
from monitor.db.traces import columns_for, create_trace_tables, drop_before, label_coverage, read_traces
from monitor.drift.profile import Binning, Profile
from monitor.errors import SchemaMismatch
from monitor.intake import ingest as intake
from monitor.intake.ingest import advance_watermark, ingest
from monitor.intake.labels import ingest_labels
from monitor.intake.sampling import keep
from monitor.schema import Schema
from monitor.vectors import Vector
from monitor.windows import Window
from tests.unguarded import unguarded

DAY = datetime(2026, 3, 2, tzinfo=UTC)
MARCH = Window(DAY, DAY + timedelta(days=28))


def rows(n: int = 200, *, start: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "trace_id": [f"t{i}" for i in range(start, start + n)],
            "event_time": pd.date_range(DAY, periods=start + n, freq="20min", tz="UTC")[start:],
            "amount": rng.normal(50, 9, n),
            "channel": rng.choice(["app", "web"], n),
        }
    )
    return frame


FRAME = rows()
BINNING = Binning.fit(FRAME[["amount", "channel"]])


def add_model(session: Session, *, vectors: tuple[Vector, ...] = (), **settings: object) -> Model:
    schema = replace(Schema.infer(FRAME[["amount", "channel"]]), vectors=vectors)
    document = ModelSettings(**settings).to_document()
    model = Model(name="fraud", owner="ann", task="classification", settings=document)
    session.add(model)
    session.flush()
    row = FeatureSchema(model_id=model.id, number=1, document=schema.to_document(), columns=columns_for(schema))
    session.add(row)
    session.flush()
    create_trace_tables(session, model, row)
    add_version(session, model, row, "v1")
    return model


def add_version(session: Session, model: Model, schema: FeatureSchema, name: str) -> Version:
    version = Version(model_id=model.id, number=1, name=name, flavour="none", manifest_sha256="0" * 64)
    session.add(version)
    session.flush()
    model.champion_id = version.id
    session.add(
        Reference(
            model_id=model.id, version_id=version.id, schema_id=schema.id, binning_id=BINNING.binning_id, starts=DAY,
            ends=DAY, rows=0, windows=0, document={"binning": BINNING.to_document(), "windows": []},
        )
    )  # fmt: skip
    session.flush()
    return version


def test_vectors_of_more_rows_than_are_encoded_at_once_stay_with_their_rows(session):
    model = add_model(session, vectors=(Vector(name="face", size=2),))
    faces = [None if i % 7 == 0 else [float(i), -0.5] for i in range(20_000)]
    frame = rows(20_000).assign(face=faces, event_time=DAY)
    ingest(session, model, frame)
    stored = session.execute(text("SELECT trace_id, face FROM traces.fraud")).all()
    assert dict(map(tuple, stored)) == dict(zip(frame["trace_id"], faces, strict=True))


@pytest.fixture
def model(session) -> Model:
    return add_model(session)


def profile(session: Session, model: Model, version: str = "v1") -> Profile | None:
    version_id = next(found.id for found in versions(session, model) if found.name == version)
    return read_profile(session, model_id=model.id, version_id=version_id, binning=BINNING, window=MARCH)


def test_a_batch_is_stored_and_every_row_counted(session, model):
    taken = ingest(session, model, FRAME)
    assert (taken.accepted, taken.duplicate, taken.quarantined, taken.profiled) == (200, 0, 0, 200)
    counted = profile(session, model)
    assert counted is not None
    np.testing.assert_array_equal(counted.counts, Profile.of(FRAME, BINNING).counts)
    assert len(read_traces(session, model, MARCH)) == 200


def test_a_repeated_batch_counts_once_in_table_ledger_and_profiles(session, model):
    ingest(session, model, FRAME)
    again = ingest(session, model, rows(250))
    assert (again.accepted, again.duplicate, again.profiled) == (50, 200, 50)
    counted = profile(session, model)
    assert counted is not None
    assert counted.rows == len(read_traces(session, model, MARCH)) == 250
    assert session.scalar(text(f"SELECT count(*) FROM traces.ledger_m{model.id}")) == 250


def test_profiles_count_every_row_and_traces_keep_the_chosen_share(session):
    model = add_model(session, sampling_rate=0.25)
    taken = ingest(session, model, FRAME)
    chosen = FRAME["trace_id"][keep(keys_of(FRAME["trace_id"]), np.full(200, 0.25))[0]]
    read = read_traces(session, model, MARCH)
    assert read["trace_id"].tolist() == chosen.tolist()
    assert set(read["weight"]) == {4.0}
    assert (taken.kept, taken.profiled) == (len(chosen), 200)


def test_counts_fall_into_the_buckets_of_the_models_window(session):
    model = add_model(session, window_seconds=3_600)
    ingest(session, model, FRAME)
    buckets = dict(session.execute(select(ProfileDelta.bucket, ProfileDelta.rows)).all())
    assert set(buckets.values()) == {3, 2}
    assert min(buckets) == DAY


def test_a_row_from_2036_waits_in_quarantine_with_its_reason(session, model):
    late = rows(3)
    late.loc[1, "event_time"] = pd.Timestamp("2036-03-01", tz="UTC")
    taken = ingest(session, model, late, source="api")
    assert (taken.accepted, taken.quarantined, taken.newest) == (2, 1, late["event_time"][2])
    waiting = session.scalars(select(Quarantined)).one()
    assert (waiting.source, waiting.model_id) == ("api", model.id)
    assert "expected a time up to" in waiting.reason
    assert '"t1"' in waiting.raw


def test_the_watermark_carries_a_replay_of_the_future(session, model):
    tomorrow = database_now(session) + timedelta(hours=20)
    later = rows(1).assign(event_time=pd.Timestamp(tomorrow + timedelta(hours=20)))
    assert ingest(session, model, later).quarantined == 1
    advance_watermark(session, model, tomorrow)
    assert ingest(session, model, later).accepted == 1


def test_the_watermark_never_goes_back_nor_far_ahead_of_what_is_known(session, model):
    advance_watermark(session, model, DAY)
    advance_watermark(session, model, DAY - timedelta(days=1))
    assert model.watermark == DAY
    advance_watermark(session, model, datetime(2090, 1, 1, tzinfo=UTC))
    assert model.watermark == database_now(session) + timedelta(days=1)


def test_rows_of_dropped_days_are_not_taken_again(session, model):
    ingest(session, model, FRAME)
    drop_before(session, model, DAY + timedelta(days=1))
    taken = ingest(session, model, FRAME)
    assert (taken.accepted, taken.duplicate, taken.quarantined) == (0, 128, 72)


def test_a_version_that_only_the_traces_know_is_entered_and_counted_apart(session, model):
    taken = ingest(session, model, FRAME.assign(version=["v1"] * 150 + ["canary"] * 50))
    first, second = versions(session, model)
    assert (second.name, second.number, second.state, second.flavour) == ("canary", 2, "registered", "none")
    assert taken.profiled == 200
    for name, expected in (("v1", 150), ("canary", 50)):
        counted = profile(session, model, name)
        assert counted is not None
        assert counted.rows == expected
    assert [entry.action for entry in entries(session)] == ["version.reported"]
    assert first.name == "v1"


def test_a_producer_that_invents_versions_is_stopped_and_its_other_rows_are_taken(session, model, monkeypatch):
    monkeypatch.setattr(intake, "MOST_VERSIONS", 3)
    taken = ingest(session, model, FRAME.assign(version=["v1"] * 100 + ["a", "b", "c", "d"] * 25))
    assert (taken.accepted, taken.quarantined, taken.profiled) == (150, 50, 150)
    assert [version.name for version in versions(session, model)] == ["v1", "a", "b"]
    assert {row.reason for row in taken.bad} == {"version: fraud has 3 versions already"}
    assert [row.position for row in taken.bad[:2]] == [102, 103]


def test_a_model_without_a_reference_keeps_traces_and_counts_nothing(session, model):
    session.query(Reference).delete()
    taken = ingest(session, model, FRAME)
    assert (taken.accepted, taken.profiled) == (200, 0)


def test_faulty_values_are_counted_as_faults_and_not_refused(session, model):
    odd = FRAME.astype({"amount": object})
    odd.loc[:9, "amount"] = "12,50"
    odd.loc[10:14, "amount"] = np.inf
    ingest(session, model, odd.drop(columns="channel"))
    counted = profile(session, model)
    assert counted is not None
    assert (counted.fault("amount", "unparsed"), counted.fault("amount", "positive_infinity")) == (10, 5)
    assert counted.is_absent("channel")


def test_a_batch_that_fits_no_column_is_refused_whole(session, model):
    with pytest.raises(SchemaMismatch, match="map trace_id"):
        ingest(session, model, FRAME.rename(columns={"trace_id": "uuid"}))


def test_an_empty_batch_changes_nothing(session, model):
    assert ingest(session, model, FRAME.iloc[:0]).accepted == 0


def test_labels_join_whatever_their_type_and_bad_ones_wait(session, model):
    ingest(session, model, FRAME)
    labels = pd.DataFrame({"trace_id": ["t0", "t1", "", "t3"], "label": [1.0, 0.0, 1.0, np.nan], "label_time": DAY})
    assert ingest_labels(session, model, labels) == 2
    assert ingest_labels(session, model, labels.assign(label=[True, False, True, None])) == 0
    read = read_traces(session, model, MARCH, labelled=True)
    assert dict(zip(read["trace_id"], read["label"], strict=True)) == {"t0": "1", "t1": "0"}
    assert label_coverage(session, model, MARCH) == (200, 2)
    assert session.scalar(select(func.count()).select_from(Quarantined)) == 2


def test_a_day_replayed_in_another_order_with_repeats_is_the_same_day(engine, session):
    """Table digest and counts; sums of products, to rounding, since floats add up in another order."""
    with unguarded(session):
        model = add_model(session)
    day = rows(2_000).assign(event_time=pd.date_range(DAY, periods=2_000, freq="40s", tz="UTC"))
    for start in range(0, 2_000, 500):
        ingest(session, model, day.iloc[start : start + 500])
    in_order, counted = digest(session, model), profile(session, model)
    session.execute(text(f"TRUNCATE traces.m{model.id}, traces.ledger_m{model.id}, profiles"))
    again = pd.concat([day, day.sample(frac=0.2, random_state=1)]).sample(frac=1, random_state=2)
    taken = [ingest(session, model, again.iloc[start : start + 700]) for start in range(0, len(again), 700)]
    assert (sum(one.accepted for one in taken), sum(one.duplicate for one in taken)) == (2_000, 400)
    assert digest(session, model) == in_order
    shuffled = profile(session, model)
    assert counted is not None
    assert shuffled is not None
    np.testing.assert_array_equal(shuffled.counts, counted.counts)
    np.testing.assert_array_equal(shuffled.faults, counted.faults)
    np.testing.assert_allclose(shuffled.moments, counted.moments, rtol=1e-12)
    np.testing.assert_allclose(shuffled.joint.products, counted.joint.products, rtol=1e-9, atol=1e-9)


def digest(session: Session, model: Model) -> str | None:
    row = f"SELECT md5(string_agg(t::text, chr(10) ORDER BY trace_id)) FROM traces.m{model.id} t"
    return session.scalar(text(row))


def test_what_is_read_holds_for_all_rows_however_unevenly_they_were_kept(session):
    """Of app one row in ten is kept, of web every one: what is read has the share that came; `every` has them all."""
    model = add_model(session, sampling_rows=100_000, sampling_surprise=1.0, sampling_rate=1.0)
    day = rows(4_000).assign(event_time=pd.date_range(DAY, periods=4_000, freq="1s", tz="UTC"), score=0.9)
    share = float((day["channel"] == "web").mean())
    model.settings = ModelSettings(sampling_rate=0.1, sampling_surprise=1.0).to_document()
    ingest(session, model, day.assign(score=np.where(day["channel"] == "web", 0.5, 0.9)))
    kept = read_traces(session, model, MARCH, every=True)
    assert set(kept["weight"]) == {1.0, 10.0}
    assert (kept["channel"] == "web").mean() > 0.85
    assert kept["weight"].sum() == pytest.approx(4_000, rel=0.1)
    thinned = read_traces(session, model, MARCH)
    assert set(thinned["weight"]) == {10.0}
    assert (thinned["channel"] == "web").mean() == pytest.approx(share, abs=0.08)
    limited = read_traces(session, model, MARCH, limit=200)
    assert (limited["channel"] == "web").mean() == pytest.approx(share, abs=0.12)


@pytest.mark.parametrize(
    ("task", "threshold", "close"),
    [("classification", 0.1, "app"), ("classification", None, "web"), ("regression", 0.1, None)],
)
def test_a_score_is_surprising_near_the_decision_of_the_champion(session, task, threshold, close):
    """Rows of app have the score .1 and those of web .5; the others are kept one in a thousand."""
    model = add_model(session, sampling_rate=1e-3, sampling_surprise=1.0)
    ingest(session, model, FRAME[:1])  # the facts are known before the threshold is
    with unguarded(session):
        version = session.scalars(select(Version).where(Version.model_id == model.id)).first()
        assert version is not None
        model.task, model.champion_id = task, version.id
        version.baseline = {"operating_threshold": threshold}
    ingest(session, model, FRAME[1:].assign(score=np.where(FRAME["channel"][1:] == "app", 0.1, 0.5)))
    kept = read_traces(session, model, MARCH, every=True)["channel"].value_counts()
    assert {channel for channel in ("app", "web") if kept.get(channel, 0) > 30} == ({close} if close else set())


def test_the_rate_follows_the_rows_of_the_windows_before(session):
    model = add_model(session, sampling_rows=100)
    days = [
        rows(1_000, start=1_000 * d).assign(
            event_time=pd.date_range(DAY + timedelta(days=d), periods=1_000, freq="1min", tz="UTC")
        )
        for d in range(9)
    ]
    kept = [ingest(session, model, day).kept for day in days]
    assert kept[0] == 1_000
    assert kept[8] == pytest.approx(100, abs=40)
    assert profile(session, model).rows == 9_000  # type: ignore[union-attr]
