"""A model of several classes, from its registration to the promotion of its successor."""

import dataclasses
import json
import re
from datetime import timedelta
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from monitor.acts.promotion import approve_promotion, promote
from monitor.acts.registry import register_model
from monitor.acts.retraining import approve
from monitor.artifacts import Manifest, load_model
from monitor.db.checks import Campaign, Finding
from monitor.db.engine import database_now, transaction
from monitor.db.registry import Model, ModelSettings, Version, model_named
from monitor.db.retraining import Proposal, Shadow
from monitor.errors import BadInput, JobFailed
from monitor.intake.ingest import advance_watermark, ingest
from monitor.intake.labels import ingest_labels
from monitor.jobs.context import Tools
from monitor.jobs.evidently_data import shown
from monitor.jobs.plan import plan_shadows
from monitor.jobs.worker import Worker
from monitor.reports.config import EvidentlyConfig, MetricSpec
from monitor.reports.measure import checked, measure
from monitor.reports.render import Preset, render
from monitor.reports.sanitise import PREDICTION, sanitise
from monitor.training import RECIPES
from tests.commands import Commands
from tests.governed import ADMIN, ANA, BEGIN, DAY, NOW, Governed, alerted, proposed, tools_for
from tests.several import CLASSES, Plans, register, schema
from tests.streams import REFERENCE_DAYS, drain_checks, runs_of, serve_days, verdicts, window

TURNED = REFERENCE_DAYS + 3


@pytest.fixture
def tools(engine: Engine, tmp_path: Path) -> Tools:
    return tools_for(engine, tmp_path)


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ([], "expected 3 to 50 classes for multiclass, got 0"),
        (["a", "b"], "got 2 (a, b): two classes are the task classification"),
        ([f"c{n}" for n in range(51)], "got 51 (c0, c1, c2, c3, c4 …)"),
        (["a", "b", "a"], "expected distinct classes with names, got 'a'"),
    ],
)
def test_a_list_of_classes_that_cannot_be_is_refused(session: Session, classes: list[str], sentence: str):
    with pytest.raises(BadInput) as told:
        register_model(
            session, name="plans", owner="ana", task="multiclass", tier=1, schema=schema(),
            settings=ModelSettings(classes=classes), by=ADMIN, now=NOW,
        )  # fmt: skip
    assert sentence in str(told.value)


def test_labels_that_follow_the_inputs_no_more_are_concept_drift(engine: Engine, tools: Tools):
    register(engine, tools.store)
    serve_days(engine, Plans(turned=TURNED), REFERENCE_DAYS, TURNED + 2)
    drain_checks(tools)
    found = verdicts(engine)
    assert [found[day] for day in range(REFERENCE_DAYS, TURNED)] == ["healthy"] * 3
    assert [found[day] for day in range(TURNED, TURNED + 2)] == ["concept_drift"] * 2
    run = runs_of(engine, "performance")[0]
    assert set(run.document["recalls"]) == set(CLASSES)
    assert {"accuracy", "balanced_accuracy", "macro_f1", "mcc"} == set(run.document["metrics"])
    with transaction(engine) as session:
        stored = session.scalars(select(Finding).where(Finding.check_run_id == run.id, Finding.metric == "recall"))
        assert {one.subject: one.statistic for one in stored} == {
            f"recall of {name}": value for name, value in run.document["recalls"].items()
        }


def test_a_label_that_is_none_of_the_classes_counts_as_wrong_and_is_not_lost(engine: Engine, tools: Tools):
    register(engine, tools.store)
    serve_days(engine, Plans(strange=60), REFERENCE_DAYS, REFERENCE_DAYS + 1)
    drain_checks(tools)
    (run,) = runs_of(engine, "performance")
    world = Plans(strange=60).day(REFERENCE_DAYS)
    assert (run.status, run.rows) == ("ok", len(world))
    assert run.document["metric"]["value"] == np.mean(world["label"] == world["prediction"])
    assert set(run.document["recalls"]) == set(CLASSES)


def test_labels_of_one_class_alone_are_too_little_to_judge_by(engine: Engine, tools: Tools):
    register(engine, tools.store)
    with transaction(engine) as session:
        rows = Plans().day(REFERENCE_DAYS).assign(label="plus")
        model = model_named(session, "fraud")
        ingest(session, model, rows.drop(columns="label"), source="test")
        ingest_labels(session, model, rows[["trace_id", "label"]].assign(label_time=rows["event_time"]))
        advance_watermark(session, model, BEGIN + (REFERENCE_DAYS + 1) * DAY)
    drain_checks(tools)
    (run,) = runs_of(engine, "performance")
    assert run.status == "insufficient"
    assert "expected rows of at least two classes, got 150 with labels of 1" in run.sentence


@pytest.mark.slow
def test_a_tick_is_held_against_the_registration_class_by_class(engine: Engine, tools: Tools):
    register(engine, tools.store, artefact=True, stress_every_windows=2)
    serve_days(engine, Plans(strange=20), REFERENCE_DAYS, REFERENCE_DAYS + 2)
    drain_checks(tools)
    (run,) = runs_of(engine, "stress")
    assert run.status == "ok", run.sentence
    assert run.document["headline"]["metric"] == "robust_accuracy"
    assert run.document["headline"]["value"] < run.document["headline"]["clean"]
    assert not run.document["below_registration"]
    assert set(json.loads(run.detector_state)["registered"]["rows"]) == {"0", "1", "2"}
    assert run.rows == 2 * (150 - 20)  # a label that is no class cannot be attacked


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, recipe in list(RECIPES.items()):
        monkeypatch.setitem(RECIPES, name, dataclasses.replace(recipe, epochs=6, min_steps=150, max_steps=150))


def approved(engine: Engine) -> int:
    """A proposal whose training is queued, on a world that turned."""
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        governed = Governed(model=model, champion=session.get_one(Version, model.champion_id))
        alert = alerted(session, governed, TURNED)
        proposal = proposed(session, model, now=database_now(session), alert=alert)
        approve(session, proposal, by=ANA, evidence_sha256=proposal.evidence_sha256, now=database_now(session))
        return proposal.id


@pytest.mark.slow
@pytest.mark.parametrize("artefact", [True, False])
def test_a_candidate_learns_the_new_world_passes_gates_and_shadow_and_serves(
    engine: Engine, tools: Tools, monkeypatch: pytest.MonkeyPatch, artefact: bool
):
    quick(monkeypatch)
    register(engine, tools.store, artefact=artefact, shadow_windows=2)
    world, now = Plans(turned=TURNED, strange=5), TURNED + 12
    serve_days(engine, world, REFERENCE_DAYS, now)
    number = approved(engine)
    assert Worker(tools, "w1", kinds=["retrain"]).run_once()
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        assert proposal.state == "awaiting_promotion", proposal.last_error
        gates = {gate["name"]: gate for gate in proposal.gates}
        assert {"clean", "mcc", "not_constant", "audit", "trigger_cleared"} <= set(gates)
        if artefact:
            assert {"robust_accuracy_s2", "corrupted_accuracy", "calibration"} <= set(gates)
            assert gates["robust_accuracy_s2"]["low"] < gates["robust_accuracy_s2"]["value"]
        clean = proposal.comparison["clean"]
        assert (clean["metric"], clean["value"] > clean["champion"] + 0.4) == ("accuracy", True)
        candidate = session.get_one(Version, proposal.candidate_id)
        manifest = Manifest.from_document(candidate.manifest)
        assert manifest.classes == CLASSES
        assert load_model(manifest, tools.store).predict_score(schema().encode(world.day(0))).shape == (150, 3)
        assert candidate.baseline["metric"]["name"] == "accuracy"
        assert set(candidate.baseline["stress_stream"]["rows"]) == {"0", "1", "2"}
        assert session.scalars(select(Campaign.purpose)).all() == ["candidate"]
    serve_days(engine, world, now, now + 2)
    shadow = looked(engine, tools)
    assert (shadow.state, shadow.document["verdict"]) == ("decided", "not_worse")
    assert shadow.document["decisions"]["changed"] > 100
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        when = database_now(session) + timedelta(seconds=1)
        assert approve_promotion(session, proposal, by=ANA, evidence_sha256=proposal.evidence_sha256, now=when)
        promote(session, proposal, by=ANA, now=when)
        assert session.scalars(select(Model)).one().champion_id == proposal.candidate_id


def test_a_class_that_the_new_world_lacks_ends_the_proposal_in_a_sentence(engine: Engine, tools: Tools):
    register(engine, tools.store)
    serve_days(engine, Plans(gone=TURNED), REFERENCE_DAYS, TURNED + 12)
    number = approved(engine)
    assert Worker(tools, "w1", kinds=["retrain"]).run_once()
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        assert proposal.state == "failed"
        assert "at least 5 rows of every class to train on, got 0 of premium" in str(proposal.last_error)


@pytest.mark.slow
def test_evidently_shows_the_classes_by_name_and_says_what_it_cannot(engine: Engine, tools: Tools):
    register(engine, tools.store)
    serve_days(engine, Plans(strange=10), REFERENCE_DAYS, REFERENCE_DAYS + 1)
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        seen = shown(session, model, session.get_one(Version, model.champion_id), window(REFERENCE_DAYS))
        specs = [MetricSpec(name="F1ByLabel"), MetricSpec(name="RocAuc")]
        config = checked(EvidentlyConfig(metrics=tuple(specs)), schema(), task=model.task)
    assert seen.data is not None
    found = measure(config, seen.data, regression=seen.regression, positive=seen.positive)
    assert {f"F1ByLabel[{name}]" for name in CLASSES} <= {result.metric for result in found}
    (ranked,) = (result for result in found if result.metric == "RocAuc")
    assert ranked.status == "error"
    assert "probabilities are available" in ranked.sentence
    made = render(seen.data, preset=Preset.CLASSIFICATION, positive=seen.positive)
    metrics = " ".join(metric["metric_name"] for metric in json.loads(made.json)["metrics"])
    assert "Accuracy" in metrics
    assert "F1ByLabel" in metrics
    with pytest.raises(BadInput, match="a regression report is for regression models; this one does multiclass"):
        Preset.named("regression", task="multiclass")


@pytest.mark.slow
def test_evidently_does_not_judge_classes_that_one_side_alone_has():
    without = Plans().day(9).replace("premium", "plus")
    data = sanitise(without, Plans().days(0, 2), schema())
    sentence = "needs? classes on both sides: premium is in the window or in the reference alone"
    config = EvidentlyConfig(metrics=(MetricSpec(name="Accuracy"),))
    (found,) = measure(checked(config, schema(), task="multiclass"), data)
    assert found.status == "insufficient"
    assert re.search(sentence, found.sentence)
    with pytest.raises(JobFailed, match=sentence):
        render(data, preset=Preset.CLASSIFICATION)
    made = render(data)
    assert re.search(sentence, made.left_out[PREDICTION])
    assert "ValueDrift(column=amount" in made.json.decode()


@pytest.fixture
def holdfast(database_url: str, tmp_path: Path) -> Commands:
    return Commands(url=database_url, home=tmp_path)


FLAGS = (
    "--time",
    "event_time",
    "--target",
    "label",
    "--prediction",
    "prediction",
    "--score",
    "score",
    "--window",
    "1d",
)


@pytest.mark.slow
def test_a_log_of_classes_is_followed_and_its_model_attached_by_name(
    holdfast: Commands, engine: Engine, tmp_path: Path
):
    rows = Plans().days(0, REFERENCE_DAYS + 2)
    fitted = HistGradientBoostingClassifier(max_iter=20).fit(rows[["amount", "age"]], rows["prediction"])
    rows.drop(columns=["version", "trace_id"]).assign(prediction=fitted.predict(rows[["amount", "age"]])).to_parquet(
        tmp_path / "log.parquet"
    )
    joblib.dump(fitted, tmp_path / "model.joblib")
    told = holdfast("watch", tmp_path / "log.parquet", "--model", "plans", *FLAGS, "--mutable", "amount", "--once")
    assert told.code == 0, told.err
    assert "the target label is one of 3 classes: basic, plus, premium" in told.err
    assert "accuracy 0." in told.out
    with transaction(engine) as session:
        assert ModelSettings.of(model_named(session, "plans")).classes == list(CLASSES)
    two = rows[rows["prediction"] != "premium"]
    joblib.dump(
        HistGradientBoostingClassifier(max_iter=5).fit(two[["amount"]], two["prediction"]), tmp_path / "two.pkl"
    )
    refused = holdfast("model", "attach", "plans", tmp_path / "two.pkl", "--convert")
    assert (refused.code, refused.out) == (2, "")
    assert "expected a model for multiclass of basic, plus, premium, two.pkl holds one for binary" in refused.err
    said = holdfast.well("model", "attach", "plans", tmp_path / "model.joblib", "--convert")
    assert "it predicts the class that the log says on 100.0% of 2,000 logged rows" in said
    assert "stress-tested: robust accuracy 0." in said
    assert "plans                    multiclass" in holdfast.well("model", "list")


@pytest.mark.slow
def test_a_history_without_predictions_is_judged_by_a_model_of_its_classes(holdfast: Commands, tmp_path: Path):
    rows = Plans(turned=45).days(0, 50).drop(columns=["version", "trace_id", "score", "prediction"])
    rows.assign(label=rows["label"].map(CLASSES.index)).to_csv(tmp_path / "history.csv", index=False)
    flags = ("--time", "event_time", "--target", "label", "--window", "1d", "--json")
    answer = holdfast("backtest", tmp_path / "history.csv", *flags)
    assert answer.code == 0, answer.err
    assert "label is one of 3 classes: 0, 1, 2; --task regression if it is a quantity" in answer.err
    found = json.loads(answer.out)
    assert (found["task"], found["reference"]["metric"]["name"]) == ("multiclass", "accuracy")
    late = [window["verdict"] for window in found["windows"] if window["metric"] and window["start"] >= "2026-02-19"]
    assert set(late) == {"concept_drift"}
    assert found["reference"]["metric"]["value"] > 0.6


def looked(engine: Engine, tools: Tools) -> Shadow:
    with transaction(engine) as session:
        plan_shadows(session)
    while Worker(tools, "w1", kinds=["shadow"]).run_once():
        pass
    with transaction(engine) as session:
        shadow = session.scalars(select(Shadow)).one()
        session.expunge_all()
        return shadow
