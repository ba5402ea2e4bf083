from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.orm import Session

from monitor.db.bulk import driver
from monitor.db.engine import sessions
from monitor.db.ledger import _LOOK
from monitor.db.registry import FeatureSchema, Model
from monitor.db.trace_tables import columns_for, create_trace_tables, drop_before, tables_of, view_name
from monitor.db.traces import (
    append_labels,
    label_coverage,
    label_revisions,
    read_traces,
    span,
    versions_seen,
)
from monitor.errors import SchemaMismatch
from monitor.schema import Feature, Kind, Schema
from monitor.windows import Window
from tests.batches import append

DAY = datetime(2026, 3, 1, tzinfo=UTC)
MARCH = Window(DAY, DAY + timedelta(days=31))
HOSTILE = 'x"; DROP TABLE models; --'


def make_model(session: Session, schema: Schema, name: str = "fraud") -> tuple[Model, FeatureSchema]:
    model = Model(name=name, owner="ann", task="classification")
    session.add(model)
    session.flush()
    row = FeatureSchema(model_id=model.id, number=1, document=schema.to_document(), columns=columns_for(schema))
    session.add(row)
    session.flush()
    create_trace_tables(session, model, row)
    return model, row


def features(*pairs: tuple[str, Kind]) -> Schema:
    return Schema(tuple(Feature(name=name, kind=kind) for name, kind in pairs))


def rows(n: int = 4, **columns: object) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "trace_id": [f"t{i}" for i in range(n)],
            "event_time": pd.date_range(DAY, periods=n, freq="6h", tz="UTC"),
            "version": "v1",
            "score": np.linspace(0, 1, n),
            "prediction": None,
            "weight": 1.0,
            "kept": True,
            "amount": np.arange(n, dtype=np.float64),
            "channel": "app",
        }
    )
    return frame.assign(**columns)


def label(trace_id: str, value: str, hours: int) -> pd.DataFrame:
    moment = pd.Timestamp(DAY + timedelta(hours=hours))
    return pd.DataFrame({"trace_id": [trace_id], "label": [value], "label_time": [moment]})


@pytest.fixture
def schema() -> Schema:
    return features(("amount", Kind.NUMERIC), ("channel", Kind.CATEGORICAL))


@pytest.fixture
def made(session, schema):
    return make_model(session, schema)


def test_rows_come_back_as_they_went_in(session, made):
    awkward = ["", 'a "quoted"\n,\\N', None, "NULL"]
    sent = rows(amount=[0.1 + 0.2, np.nan, np.inf, -5e-324], channel=awkward)
    assert append(session, *made, sent).all()
    read = read_traces(session, made[0], MARCH)
    np.testing.assert_array_equal(read["amount"], sent["amount"])
    np.testing.assert_array_equal(read["score"], sent["score"])
    assert read["trace_id"].tolist() == sent["trace_id"].tolist()
    assert read["channel"].tolist() == awkward
    assert (read["event_time"] == sent["event_time"]).all()


def test_missing_numbers_are_null_in_the_database(session, made):
    append(session, *made, rows(amount=[1.0, np.nan, 3.0, np.nan]))
    assert session.execute(text("SELECT avg(amount), count(amount) FROM traces.fraud")).one() == (2.0, 2)


def test_a_repeated_row_is_new_once(session, made):
    assert append(session, *made, rows(4)).tolist() == [True] * 4
    assert append(session, *made, rows(6)).tolist() == [False] * 4 + [True] * 2
    assert len(read_traces(session, made[0], MARCH)) == 6


def test_a_row_repeated_within_a_batch_is_new_once(session, made):
    assert append(session, *made, pd.concat([rows(2), rows(2)])).tolist() == [True, True, False, False]


def test_a_row_that_is_not_kept_is_in_the_ledger_only(session, made):
    half = rows(4, kept=[True, False, True, False])
    append(session, *made, half)
    assert len(read_traces(session, made[0], MARCH)) == 2
    assert not append(session, *made, half.assign(kept=True)).any()


def test_the_look_for_a_repeat_goes_by_the_key_while_nothing_is_known_of_the_day(session, made):
    """The plan is remembered by the connection that made it, so one that reads the whole day would go on doing so."""
    append(session, *made, rows(4))
    _, ledger = tables_of(made[0], [DAY.date()])
    connection = driver(session)
    connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    look = _LOOK.replace("%s, %s", "$1, $2")
    connection.execute(sql.SQL("PREPARE look (timestamptz[], uuid[]) AS " + look).format(ledger))
    plan = "\n".join(line for (line,) in connection.execute("EXPLAIN EXECUTE look ('{}', '{}')"))
    connection.execute("DEALLOCATE look")
    assert "Index Cond: ((event_time = b.event_time) AND (id = b.id))" in plan, plan


def test_a_rolled_back_batch_leaves_no_trace(session, made):
    session.commit()
    append(session, *made, rows())
    session.rollback()
    assert append(session, *made, rows()).all()


def test_rows_are_read_in_order_of_time_and_then_id(session, made):
    shuffled = rows(6, event_time=pd.Timestamp(DAY), trace_id=["b", "C", "a", "é", "A", "B"])
    append(session, *made, shuffled)
    assert read_traces(session, made[0], MARCH)["trace_id"].tolist() == ["A", "B", "C", "a", "b", "é"]


def test_a_window_is_half_open_and_a_version_can_be_chosen(session, made):
    append(session, *made, rows(4, version=["v1", "v2", "v1", "v1"]))
    first = Window(DAY, DAY + timedelta(hours=18))
    assert read_traces(session, made[0], first)["trace_id"].tolist() == ["t0", "t1", "t2"]
    assert read_traces(session, made[0], first, version="v2")["trace_id"].tolist() == ["t1"]
    assert versions_seen(session, made[0], MARCH) == {"v1": 3, "v2": 1}


def test_a_limit_chooses_the_same_rows_spread_over_the_window(session, made):
    append(session, *made, rows(100))
    chosen = read_traces(session, made[0], MARCH, limit=20)
    again = read_traces(session, made[0], MARCH, limit=20)
    pd.testing.assert_frame_equal(chosen, again)
    assert chosen["event_time"].is_monotonic_increasing
    assert chosen["amount"].max() > 70


def test_an_empty_window_gives_typed_columns(session, made):
    read = read_traces(session, made[0], MARCH)
    assert (len(read), str(read["amount"].dtype), str(read["event_time"].dtype)) == (
        0,
        "float64",
        "datetime64[us, UTC]",
    )
    assert span(session, made[0]) is None


def test_a_label_joins_by_id_and_its_revisions_are_kept(session, made):
    append(session, *made, rows(2))
    assert append_labels(session, made[0], label("t0", "0", 30)) == 1
    assert append_labels(session, made[0], label("t0", "1", 50)) == 1
    read = read_traces(session, made[0], MARCH)
    assert read["label"].tolist() == ["1", None]
    history = session.execute(text(f"SELECT revision, label FROM traces.l{made[0].id} ORDER BY 1")).all()
    assert history == [(1, "0"), (2, "1")]


def test_a_repeated_label_and_an_older_one_that_comes_late_change_nothing(session, made):
    append(session, *made, rows(2))
    append_labels(session, made[0], label("t0", "1", 50))
    assert append_labels(session, made[0], label("t0", "1", 60)) == 0
    assert append_labels(session, made[0], label("t0", "0", 30)) == 0
    assert read_traces(session, made[0], MARCH, labelled=True)["label"].tolist() == ["1"]


def test_coverage_counts_kept_rows_and_every_label_raises_the_revision(session, made):
    append(session, *made, rows(4))
    append_labels(session, made[0], label("t0", "0", 30))
    append_labels(session, made[0], label("never seen", "0", 30))
    assert (label_coverage(session, made[0], MARCH), label_revisions(session, made[0], MARCH)) == ((4, 1), 1)
    append_labels(session, made[0], label("t0", "1", 40))
    assert (label_coverage(session, made[0], MARCH), label_revisions(session, made[0], MARCH)) == ((4, 1), 2)


def test_a_hostile_feature_name_is_just_a_name(session):
    model, row = make_model(session, features((HOSTILE, Kind.NUMERIC), ("%s", Kind.NUMERIC)), name=HOSTILE)
    append(session, model, row, rows(2, **{HOSTILE: [1.0, 2.0], "%s": 0.5}))
    assert read_traces(session, model, MARCH)[HOSTILE].tolist() == [1.0, 2.0]
    view = '"' + HOSTILE.replace('"', '""') + '"'
    columns = session.execute(text(f"SELECT * FROM traces.{view}")).keys()
    assert {HOSTILE, "%s", "label"} <= set(columns)


def test_names_too_long_for_postgresql_stay_apart_in_the_view(session):
    long = "very_long_feature_name_" * 4
    model, row = make_model(session, features((long + "a", Kind.NUMERIC), (long + "b", Kind.NUMERIC)), name="é" * 40)
    append(session, model, row, rows(1, **{long + "a": [1.0], long + "b": [2.0]}))
    read = read_traces(session, model, MARCH)
    assert (read[long + "a"].item(), read[long + "b"].item()) == (1.0, 2.0)


def test_a_model_named_like_a_table_gets_another_view(session, schema):
    model, _ = make_model(session, schema, name="ledger_m1")
    assert view_name(model) == f"ledger_m1_view{model.id}"


def test_a_feature_may_not_be_named_like_a_column_of_every_trace(session):
    with pytest.raises(SchemaMismatch, match="got weight: rename"):
        make_model(session, features(("weight", Kind.NUMERIC)))


def test_a_newer_schema_keeps_the_columns_of_features_that_stay(session, made, schema):
    model, first = made
    append(session, model, first, rows(1))
    newer = features(("channel", Kind.CATEGORICAL), ("amount", Kind.CATEGORICAL), ("age", Kind.INTEGER))
    columns = columns_for(newer, first)
    assert columns == {"channel": "f1", "amount": "f2", "age": "f3"}
    row = FeatureSchema(model_id=model.id, number=2, document=newer.to_document(), columns=columns)
    session.add(row)
    create_trace_tables(session, model, row)
    append(session, model, row, rows(2, age=[1, 2], amount="low"))
    read = read_traces(session, model, MARCH)
    assert (read["channel"].tolist(), read["amount"].tolist()) == (["app", "app"], [None, "low"])


def test_partitions_are_cut_by_day_and_dropped_whole(session, made):
    append(session, *made, rows(12))
    append_labels(session, made[0], label("t0", "1", 1))
    assert drop_before(session, made[0], DAY + timedelta(days=2, hours=5)) == 2
    assert span(session, made[0]) == (DAY + timedelta(days=2), DAY + timedelta(hours=66))
    assert made[0].oldest_kept == DAY + timedelta(days=2)
    assert session.scalar(text(f"SELECT count(*) FROM traces.l{made[0].id}")) == 0


def test_two_batches_at_once_enter_a_row_once(engine, session, made):
    append(session, *made, rows(1))
    session.commit()
    with sessions(engine)() as other:
        append(session, *made, rows(3))
        other.execute(text("SET lock_timeout = '200ms'"))
        with pytest.raises(Exception, match="lock timeout"):
            append(other, other.get(Model, made[0].id), other.get(FeatureSchema, made[1].id), rows(3))
        other.rollback()
        session.commit()
        again = append(other, other.get(Model, made[0].id), other.get(FeatureSchema, made[1].id), rows(4))
        assert again.tolist() == [False, False, False, True]
