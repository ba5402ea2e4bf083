"""Features are renamed, added, retyped and removed by declaration; what is watched goes on as it was said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from monitor.acts.baselines import accept_baseline
from monitor.acts.privacy import configure_privacy
from monitor.acts.quarantine import retake, waiting
from monitor.acts.registry import attach, register_version
from monitor.acts.requests import request_retraining
from monitor.acts.schema_files import DeclaredSchema, read_schema, write_schema
from monitor.acts.schemas import Evolution, evolution_of, evolve_schema
from monitor.acts.segments import declare_segment
from monitor.acts.stress import order_stress_test
from monitor.artifacts import Flavour, Manifest
from monitor.db.audit import entries
from monitor.db.engine import database_now, transaction
from monitor.db.read_model import model_history
from monitor.db.registry import (
    FeatureSchema,
    ModelSettings,
    Reference,
    champion,
    feature_schema,
    model_named,
    reference_for,
    schema_of,
)
from monitor.db.traces import read_traces
from monitor.drift import Reference as Normal
from monitor.errors import BadInput, NotAllowed, NotEnoughData, StaleDecision
from monitor.governance import Actor
from monitor.intake.ingest import advance_watermark, ingest
from monitor.vectors import summarise
from tests.streams import (
    OWNER,
    REFERENCE_DAYS,
    World,
    drain_checks,
    register,
    runs_of,
    schema,
    serve_days,
    tools_for,
    window,
)

EVOLVED = """
features:
  eur: {kind: numeric, renamed_from: amount, mutable: true}
  channel: {kind: categorical, levels: [app, web, shop]}
  bonus: {kind: numeric}
"""  # amount is renamed, age goes, bonus comes


def evolve(engine: Engine, declared: str = EVOLVED, by: Actor = OWNER) -> Evolution:
    with transaction(engine) as session:
        return evolve_schema(
            session, model_named(session, "fraud"), read_schema(declared), by=by, now=database_now(session)
        )


def serve_evolved(engine: Engine, first: int, last: int, *, bonus: float = 0.0) -> None:
    """Days under the new names; `bonus` is the mean of the new feature."""
    days = []
    for number in range(first, last):
        day = World().day(number).drop(columns=["label", "age"]).rename(columns={"amount": "eur"})
        days.append(day.assign(bonus=np.random.default_rng(number).normal(bonus, 1.0, len(day))))
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        ingest(session, model, pd.concat(days, ignore_index=True), source="test")
        advance_watermark(session, model, window(last - 1).end)


def active(session: Session) -> Reference:
    model = model_named(session, "fraud")
    found = reference_for(session, champion(session, model))
    assert found is not None
    return found


@pytest.fixture
def watched(engine: Engine, tmp_path: Path) -> Engine:
    """The model after four checked days."""
    register(engine, World(), overrides={"amount": {"tolerance": 0.2}, "age": {"tolerance": 0.2}})
    serve_days(engine, World(), REFERENCE_DAYS, REFERENCE_DAYS + 4)
    drain_checks(tools_for(engine, tmp_path))
    return engine


def test_it_says_what_each_change_does(watched: Engine):
    assert evolve(watched).sentences == (
        "amount is eur now: its column f0, its history and its counts stay; rows must call it eur from now on",
        "bonus (numeric) is new: column f3; it is watched once a baseline is accepted whose windows have it: holdfast "
        "baseline accept fraud",
        "age is no longer taken in, shown or watched; its column f1 stays",
        "the reference of v1 goes on over 2 of 3 features; its drift stream starts afresh",
    )


def test_history_is_read_under_the_new_names(watched: Engine):
    with transaction(watched) as session:
        before = read_traces(session, model_named(session, "fraud"), window(0))
    evolve(watched)
    with transaction(watched) as session:
        after = read_traces(session, model_named(session, "fraud"), window(0))
        shown = session.execute(text("SELECT * FROM traces.fraud LIMIT 1")).keys()
    assert after["eur"].tolist() == before["amount"].tolist()
    assert after["bonus"].isna().all()
    assert {"eur", "channel", "bonus"} <= set(shown)
    assert not {"amount", "age"} & set(shown)


def test_a_renamed_feature_is_watched_as_before_and_a_removed_one_no_more(watched: Engine, tmp_path: Path):
    evolve(watched)
    serve_evolved(watched, REFERENCE_DAYS + 4, REFERENCE_DAYS + 7)
    drain_checks(tools_for(watched, tmp_path))
    for kind in ("quality", "drift"):
        runs = runs_of(watched, kind)[-3:]
        assert [run.starts for run in runs] == [window(REFERENCE_DAYS + 4 + n).start for n in range(3)]
        assert [run.document.get("broken", False) for run in runs] == [False] * 3
    assert {run.sentence for run in runs_of(watched, "quality")[-3:]} == {"no fault found"}
    report = runs_of(watched, "drift")[-1]
    assert (report.status, report.rows) == ("ok", 200)
    assert set(report.document["features"]) == {"eur", "channel"}


def test_the_counts_of_old_windows_go_on_over_the_new_bins(watched: Engine):
    with transaction(watched) as session:
        before = Normal.from_document(active(session).document)
    evolve(watched)
    with transaction(watched) as session:
        after = Normal.from_document(active(session).document)
        model = model_named(session, "fraud")
        assert active(session).schema_id == feature_schema(session, model).id
        counted = session.execute(
            text("SELECT binning_id, sum(rows) FROM profiles GROUP BY 1 ORDER BY binning_id = :new"),
            {"new": after.binning.binning_id},
        ).all()
    assert after.total.counts_of("eur").tolist() == before.total.counts_of("amount").tolist()
    assert after.total.mean("eur") == before.total.mean("amount")
    assert [rows for _, rows in counted] == [counted[0][1]] * 2


def test_a_shift_of_a_renamed_feature_is_found_by_its_new_name(watched: Engine, tmp_path: Path):
    evolve(watched)
    shifted = World(shift=(REFERENCE_DAYS + 4, 1.0))
    rows = pd.concat([shifted.day(n) for n in range(REFERENCE_DAYS + 4, REFERENCE_DAYS + 10)], ignore_index=True)
    with transaction(watched) as session:
        model = model_named(session, "fraud")
        ingest(session, model, rows.drop(columns="label").rename(columns={"amount": "eur"}), source="test")
        advance_watermark(session, model, window(REFERENCE_DAYS + 9).end)
    drain_checks(tools_for(watched, tmp_path))
    assert "eur" in runs_of(watched, "drift")[-1].document["culprits"]


def test_an_added_feature_is_watched_once_a_baseline_has_it(watched: Engine, tmp_path: Path):
    evolve(watched)
    first = REFERENCE_DAYS + 4
    serve_evolved(watched, first, first + 20)
    drain_checks(tools_for(watched, tmp_path))
    with transaction(watched) as session, pytest.raises(NotEnoughData, match="bonus, only the newest 20 of these 24"):
        _accept(session, last=44)
    with transaction(watched) as session:
        accepted = _accept(session, last=20)
        assert Normal.from_document(accepted.document).schema.names == ("eur", "channel", "bonus", "score")
    serve_evolved(watched, first + 20, first + 24, bonus=4.0)
    drain_checks(tools_for(watched, tmp_path))
    report = runs_of(watched, "drift")[-1]
    assert report.document["culprits"][:1] == ["bonus"]


def _accept(session: Session, *, last: int) -> Reference:
    model = model_named(session, "fraud")
    return accept_baseline(
        session, model, champion(session, model), last=last, reason="bonus came", by=OWNER, now=database_now(session)
    )


def test_a_column_is_never_used_again(watched: Engine):
    evolve(watched)
    evolve(watched, "features: {eur: {kind: numeric}, age: {kind: numeric}}")
    with transaction(watched) as session:
        rows = session.scalars(select(FeatureSchema).order_by(FeatureSchema.number)).all()
        assert [row.columns for row in rows] == [
            {"amount": "f0", "age": "f1", "channel": "f2"},
            {"eur": "f0", "channel": "f2", "bonus": "f3"},
            {"eur": "f0", "age": "f4"},
        ]
        assert read_traces(session, model_named(session, "fraud"), window(0))["age"].isna().all()


def test_a_retyped_feature_gets_a_column_of_its_own(watched: Engine):
    declared = "features: {amount: {kind: numeric}, age: {kind: categorical}, channel: {kind: categorical}}"
    found = evolve(watched, declared)
    assert (found.retyped, found.columns["age"]) == (("age",), "f3")
    assert found.sentences[0].startswith(
        "age was numeric and is categorical: a new column f3, whose history begins now"
    )
    with transaction(watched) as session:
        assert Normal.from_document(active(session).document).schema.names == ("amount", "channel")


def test_names_may_be_exchanged(watched: Engine):
    declared = """
    features:
      age: {kind: numeric, renamed_from: amount}
      amount: {kind: numeric, renamed_from: age}
      channel: {kind: categorical}
    """
    with transaction(watched) as session:
        before = read_traces(session, model_named(session, "fraud"), window(0))
    evolve(watched, declared)
    with transaction(watched) as session:
        after = read_traces(session, model_named(session, "fraud"), window(0))
        normal = Normal.from_document(active(session).document)
    assert after["age"].tolist() == before["amount"].tolist()
    assert normal.schema.names == ("age", "amount", "channel")


def test_a_reference_of_which_nothing_is_left_ends(watched: Engine):
    found = evolve(watched, "features: {other: {kind: numeric}}")
    assert "the reference of v1 has none of these features: normal is learned anew" in found.sentences
    with transaction(watched) as session:
        model = model_named(session, "fraud")
        assert reference_for(session, champion(session, model)) is None


def test_what_the_owner_declared_goes_with_the_feature(watched: Engine):
    evolve(watched)
    with transaction(watched) as session:
        assert ModelSettings.of(model_named(session, "fraud")).overrides == {"eur": {"tolerance": 0.2}}


def test_it_is_on_record_and_needs_somebody_who_may(watched: Engine):
    with pytest.raises(NotAllowed):
        evolve(watched, by=Actor(id="vic", name="Vic", roles=frozenset({"viewer"})))
    evolve(watched)
    with transaction(watched) as session:
        entry = next(entry for entry in entries(session) if entry.action == "schema.evolved")
        said = {key: entry.details[key] for key in ("number", "renamed", "added", "removed", "retyped")}
        assert said == {
            "number": 2,
            "renamed": {"eur": "amount"},
            "added": ["bonus"],
            "removed": ["age"],
            "retyped": [],
        }


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("features: {x: {kind: numeric, renamed_from: nothing}}", "renamed from amount, age, channel, got nothing"),
        ("features: {amount: {kind: numeric}, x: {kind: numeric, renamed_from: amount}}", "go on from amount"),
        ("features: {x: {kind: vague}}", "schema features.x.kind"),
        ("features: {x: {kind: numeric, colour: red}}", "schema features.x.colour"),
        ("features: {x: {kind: categorical, levels: [yes, no]}}", 'write "yes" in quotes'),
        ("features: {score: {kind: numeric}}", "expected features not named"),
        ("features: {}", "expected at least one feature"),
        ("features: {x: {kind: numeric}}\nvectors: {v: {size: 0}}", "a size of v from 1 to 4,096"),
        ("features: {v.norm: {kind: numeric}}\nvectors: {v: {size: 3}}", "summary of the vector v; rename it"),
        ("vectors: {v: {size: 3, renamed_from: amount}}", "renamed from amount, age, channel, got amount"),
        ("- a", "schema file"),
    ],
)
def test_what_cannot_be_declared_is_refused(watched: Engine, declared: str, message: str):
    with pytest.raises(BadInput, match=message):
        evolve(watched, declared)


WITH_FACE = """
features:
  amount: {kind: numeric}
  age: {kind: numeric}
  channel: {kind: categorical, levels: [app, web, shop]}
vectors:
  face: {size: 12}
"""


def serve_faces(engine: Engine, first: int, last: int, *, name: str = "face", size: int = 12, mean: float = 0) -> None:
    """Days with a vector of standard normal numbers around a mean."""
    days = []
    for number in range(first, last):
        day = World().day(number).drop(columns=["label"])
        faces = np.random.default_rng(number).normal(mean, 1.0, (len(day), size))
        days.append(day.assign(**{name: list(faces)}))
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        ingest(session, model, pd.concat(days, ignore_index=True), source="test")
        advance_watermark(session, model, window(last - 1).end)


def test_an_added_vector_is_stored_from_now_on_and_watched_once_a_baseline_has_it(watched: Engine, tmp_path: Path):
    assert evolve(watched, WITH_FACE).sentences[0] == (
        "face (vector of 12 numbers) is new: column f12; it is watched once a baseline is accepted whose windows have "
        "it: holdfast baseline accept fraud"
    )
    first = REFERENCE_DAYS + 4
    serve_faces(watched, first, first + 20)
    drain_checks(tools_for(watched, tmp_path))
    with transaction(watched) as session:
        _accept(session, last=20)
        stored = session.scalars(text("SELECT face FROM traces.fraud ORDER BY event_time DESC LIMIT 1")).one()
        summary = session.scalars(text('SELECT "face.p1" FROM traces.fraud ORDER BY event_time DESC LIMIT 1')).one()
        kept = "SELECT DISTINCT attstorage FROM pg_attribute WHERE attname = 'f12' AND attrelid > 16384"
        assert session.scalars(text(kept)).all() == ["e"]
    assert summary == summarise(np.array([stored], np.float32))[0, 1]
    serve_faces(watched, first + 20, first + 22, mean=1.0)
    drain_checks(tools_for(watched, tmp_path))
    culprits = runs_of(watched, "drift")[-1].document["culprits"]
    assert culprits
    assert {name.partition(".")[0] for name in culprits} == {"face"}


@pytest.fixture
def faces(watched: Engine, tmp_path: Path) -> Engine:
    """The model with a vector that a baseline has."""
    evolve(watched, WITH_FACE)
    serve_faces(watched, REFERENCE_DAYS + 4, REFERENCE_DAYS + 24)
    drain_checks(tools_for(watched, tmp_path))
    with transaction(watched) as session:
        _accept(session, last=20)
    return watched


def test_a_renamed_vector_goes_on_with_its_summaries(faces: Engine, tmp_path: Path):
    found = evolve(faces, WITH_FACE.replace("face: {size: 12}", "photo: {size: 12, renamed_from: face}"))
    assert found.sentences == (
        "face is photo now: its column f12, its history and its counts stay; rows must call it photo from now on",
        "the reference of v1 goes on over 13 of 13 features; its drift stream starts afresh",
    )
    first = REFERENCE_DAYS + 24
    serve_faces(faces, first, first + 2, name="photo", mean=1.0)
    drain_checks(tools_for(faces, tmp_path))
    assert {name.partition(".")[0] for name in runs_of(faces, "drift")[-1].document["culprits"]} == {"photo"}


def test_a_vector_of_another_size_begins_anew(faces: Engine):
    found = evolve(faces, WITH_FACE.replace("12", "6"))
    assert found.sentences == (
        "face was vector of 12 numbers and is vector of 6 numbers: a new column f20, whose history begins now; it is "
        "watched once a baseline is accepted whose windows have it: holdfast baseline accept fraud",
        "the reference of v1 goes on over 4 of 13 features; its drift stream starts afresh",
    )
    assert set(found.retyped) == {"face", "face.norm", *(f"face.p{k}" for k in range(1, 7))}
    assert found.removed == ("face.p7", "face.p8")
    serve_faces(faces, REFERENCE_DAYS + 24, REFERENCE_DAYS + 25, size=6)
    with transaction(faces) as session:
        sizes = session.execute(text("SELECT cardinality(face), count(*) FROM traces.fraud GROUP BY 1 ORDER BY 1"))
        assert sizes.all() == [(6, 200), (None, 28 * 200 + 24 * 200)]


def test_refused_vectors_can_be_taken_once_the_size_is_declared(faces: Engine):
    serve_faces(faces, REFERENCE_DAYS + 24, REFERENCE_DAYS + 25, size=6)
    with transaction(faces) as session:
        model = model_named(session, "fraud")
        assert {row.reason for row in waiting(session, model)} == {"face: expected 12 numbers, got 6"}
    evolve(faces, WITH_FACE.replace("12", "6"))
    with transaction(faces) as session:
        model, now = model_named(session, "fraud"), database_now(session)
        assert retake(session, model, waiting(session, model), by=OWNER, now=now).sentence == "200 rows were taken"
        assert session.scalar(text("SELECT count(face) FROM traces.fraud")) == 200


def test_a_removed_vector_goes_with_its_summaries(faces: Engine):
    found = evolve(faces, WITH_FACE.partition("vectors:")[0])
    assert found.sentences == (
        "face is no longer taken in, shown or watched; its column f12 stays",
        "the reference of v1 goes on over 4 of 13 features; its drift stream starts afresh",
    )
    with transaction(faces) as session:
        shown = session.execute(text("SELECT * FROM traces.fraud LIMIT 1")).keys()
    assert not [name for name in shown if name.startswith("face")]


def test_vectors_are_neither_stressed_nor_retrained_on(faces: Engine):
    with transaction(faces) as session:
        model = model_named(session, "fraud")
        version, now = champion(session, model), database_now(session)
        manifest = Manifest(flavour=Flavour.TORCH, feature_schema=schema().to_document(), task="classification")
        for act in (
            lambda: order_stress_test(session, model, version, by=OWNER, now=now),
            lambda: request_retraining(session, model, by=OWNER, reason="it is due", now=now),
            lambda: attach(session, version, manifest, by=OWNER, now=now),
            lambda: register_version(session, model, manifest=manifest, by=OWNER, now=now),
        ):
            with pytest.raises(BadInput, match="fraud has vectors, which stress tests and retraining cannot work on"):
                act()
        assert [rung.name for rung in model_history(session, "fraud").rungs] == ["Log", "Labels"]


def test_a_model_with_an_artefact_takes_no_vectors(engine: Engine):
    manifest = Manifest(flavour=Flavour.TORCH, feature_schema=schema().to_document(), task="classification")
    register(engine, World(), served=False, manifest=manifest)
    with pytest.raises(BadInput, match="no vector in fraud, whose version v1 has an artefact"):
        evolve(engine, WITH_FACE)


def test_what_was_not_stored_or_hashed_stays_so_under_a_new_name(watched: Engine):
    with transaction(watched) as session:
        model = model_named(session, "fraud")
        configure_privacy(session, model, unstored=["amount"], hashed=["channel"], by=OWNER, now=database_now(session))
    evolve(watched, EVOLVED.replace("channel: {kind: categorical", "way: {kind: categorical, renamed_from: channel"))
    with transaction(watched) as session:
        settings = ModelSettings.of(model_named(session, "fraud"))
        assert (settings.unstored, settings.hashed) == (["eur"], ["way"])


def test_a_feature_with_a_segment_cannot_go_before_it(watched: Engine):
    with transaction(watched) as session:
        declare_segment(session, model_named(session, "fraud"), "channel=app", by=OWNER, now=database_now(session))
    with pytest.raises(BadInput, match="the segment channel=app names a feature that goes"):
        evolve(watched, "features: {amount: {kind: numeric}, age: {kind: numeric}}")


def test_a_schema_that_is_written_is_read_as_the_same(engine: Engine):
    register(engine, World(), served=False)
    with transaction(engine) as session:
        known = schema_of(feature_schema(session, model_named(session, "fraud")))
        again = read_schema(write_schema(known))
        assert again == DeclaredSchema(schema=known, renamed={})
        with pytest.raises(StaleDecision, match="has this schema already"):
            evolution_of(session, model_named(session, "fraud"), again)
    assert known == schema()
