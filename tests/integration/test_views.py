"""Every view on a real database: what it says with rows, without any, and when something fails."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, select, update
from streamlit.testing.v1 import AppTest

import dashboard
from dashboard import auth, place, queries
from monitor.acts.retraining import expire_due
from monitor.acts.shadow import Loss, ShadowVerdict, Terms, begin_shadow, conclude
from monitor.artifacts import Store
from monitor.db.checks import CheckRun, Finding
from monitor.db.engine import transaction
from monitor.db.jobs import Job
from monitor.db.read_retraining import proposal_page
from monitor.db.registry import Model, Monitor, Version, feature_schema, schema_of
from monitor.db.retraining import Progress, Proposal
from monitor.db.users import create_user
from monitor.governance.roles import Actor, Role
from monitor.performance.confidence_sequence import ConfidenceSequence
from monitor.vectors import Vector
from tests.seeded import populate
from tests.several import Plans
from tests.several import register as register_plans
from tests.streams import REFERENCE_DAYS, World, drain_checks, register, serve_days, tools_for
from tests.unguarded import unguarded

ANA = Actor(id="ana", name="Ana", roles=frozenset({Role.APPROVER, Role.OPERATOR}))
SCRIPT = Path(dashboard.__path__[0]) / "app.py"


@pytest.fixture(autouse=True)
def served(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The dashboard of this test's database, with Ana signed in."""
    place.use(place.Place(database_url=database_url, artifact_dir=tmp_path))
    monkeypatch.setattr(auth, "current_actor", lambda **_: ANA)
    queries.forget()
    yield
    place.engine().dispose()


@pytest.fixture
def fraud(engine: Engine) -> None:
    with transaction(engine) as session:
        populate(session)
        create_user(session, "ana", ["approver", "operator"])


def view(name: str, **query: str) -> AppTest:
    """A view after its first run."""
    app = AppTest.from_file(str(SCRIPT), default_timeout=30).run()
    app.query_params.update(query)
    return app.switch_page(f"views/{name}.py").run() if name != "overview" else app


def said(app: AppTest) -> str:
    """All the words on the page."""
    names = ("title", "subheader", "markdown", "caption", "text", "error", "info", "success", "warning")
    return "\n".join(str(element.value) for name in names for element in getattr(app, name))


VIEWS = ("overview", "model", "drift", "robustness", "alerts", "retraining", "registry")


@pytest.mark.usefixtures("fraud")
def test_a_number_that_stands_for_a_vector_says_so(engine):
    with transaction(engine) as session:
        row = feature_schema(session, session.scalars(select(Model)).one())
        features = (replace(one, vector="face" if one.name == "age" else None) for one in schema_of(row).features)
        row.document = replace(schema_of(row), features=tuple(features)).to_document()
    assert "age stands for the vector face" in said(view("drift", model="fraud", feature="age"))
    assert "stands for" not in said(view("drift", model="fraud", feature="amount"))


def test_a_model_with_vectors_is_not_offered_a_stress_test(engine):
    register(engine, World(), served=False)
    assert "holdfast model attach" in said(view("robustness", model="fraud"))
    with transaction(engine) as session:
        row = feature_schema(session, session.scalars(select(Model)).one())
        row.document = replace(schema_of(row), vectors=(Vector(name="face", size=3),)).to_document()
    queries.forget()
    page = view("robustness", model="fraud")
    assert "fraud has vectors, which stress tests and retraining cannot work on" in said(page)
    assert "run-stress" not in {button.key for button in page.button}


@pytest.mark.usefixtures("fraud")
@pytest.mark.parametrize(
    ("name", "headline"),
    [
        ("overview", "1 model needs you: fraud — proposal #1 awaits approval"),
        ("model", "Healthy until 3 May, then harmful covariate shift (auroc 0.912 → 0.838)"),
        ("drift", "3 of 8 features moved since 3 May: merchant_category, amount, distance_km"),
        ("robustness", "At S2 the AUC falls 0.80 → 0.73 (−0.01 since registration)"),
        ("alerts", "1 alert nobody has taken yet: fraud"),
        ("retraining", "Proposal #1 for fraud awaits approval"),
    ],
)
def test_a_view_answers_its_question_in_the_first_line(name: str, headline: str):
    app = view(name)
    assert not app.exception
    assert [title.value for title in app.title] == [headline]


def test_a_model_of_several_classes_shows_the_recall_of_each(engine: Engine, tmp_path: Path):
    register_plans(engine, Store(tmp_path / "artifacts"))
    serve_days(engine, Plans(turned=REFERENCE_DAYS), REFERENCE_DAYS, REFERENCE_DAYS + 1)
    drain_checks(tools_for(engine, tmp_path))
    app = view("model")
    assert not app.exception
    assert app.title[0].value.startswith("Concept drift in every window shown")
    shown = next(caption.value for caption in app.caption if "recall of" in caption.value)
    assert [part.rsplit(" ", 1)[0] for part in shown.split(" · ")] == [
        "balanced accuracy", "macro f1", "recall of basic", "recall of plus", "recall of premium",
    ]  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_of_an_empty_database_says_what_would_fill_it(name: str):
    app = view(name)
    assert not app.exception
    assert len(app.title) == 1
    assert "`holdfast" in said(app) or "evidence" in said(app)


@pytest.mark.usefixtures("fraud")
def test_approving_queues_the_training_and_says_so(engine: Engine):
    app = view("retraining").button(key="approve").click().run()
    assert app.title[0].value == "Proposal #1 for fraud is approved; the training is queued"
    assert "the training is queued" in app.success[0].value
    with transaction(engine) as session:
        assert session.scalars(select(Job.stream)).all() == ["proposal:1"]


@pytest.mark.usefixtures("fraud")
def test_a_click_on_a_stale_page_changes_nothing_and_is_answered_with_a_sentence(engine: Engine):
    app = view("retraining")
    with transaction(engine) as session:
        expire_due(session, datetime.now(UTC) + timedelta(hours=73))
    app.button(key="approve").click().run()
    assert "open it again" in app.error[0].value
    assert app.title[0].value == "Proposal #1 for fraud expired before anybody decided"


@pytest.mark.usefixtures("fraud")
def test_who_may_not_decide_reads_why_and_cannot_click(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(auth, "current_actor", lambda **_: Actor(id="eve", name="Eve", roles=frozenset({Role.VIEWER})))
    app = view("retraining")
    assert "needs one of approver, validator" in said(app)
    assert app.button(key="approve").disabled


@pytest.mark.usefixtures("fraud")
def test_an_acknowledged_alert_has_a_holder():
    app = view("alerts", alert="2").button(key="acknowledge").click().run()
    assert app.title[0].value == "1 alert open, all taken by ana"


@pytest.mark.usefixtures("fraud")
def test_the_url_chooses_the_feature_that_is_shown():
    app = view("drift", model="fraud", feature="age")
    assert app.selectbox[0].value == "age"


@pytest.mark.usefixtures("fraud")
@pytest.mark.parametrize(("name", "key"), [("alerts", "alert"), ("retraining", "proposal")])
def test_a_link_to_what_is_not_there_says_so_above_what_is(name: str, key: str):
    assert f"There is no {key} 777" in view(name, **{key: "777"}).warning[0].value
    assert not view(name).warning


@pytest.mark.usefixtures("fraud")
def test_a_feature_of_levels_is_drawn_by_its_distance_and_a_number_by_its_effect():
    assert "its levels moved together" in said(view("drift", model="fraud", feature="merchant_category"))
    assert "its mean moved" in said(view("drift", model="fraud", feature="amount"))


@pytest.mark.usefixtures("fraud")
def test_what_goes_on_without_a_retraining_is_told_by_the_measured_metric():
    assert "v1 serves on with auroc 0.838 where the limit is" in said(view("retraining"))


@pytest.mark.usefixtures("fraud")
def test_a_new_champion_is_not_told_by_its_predecessors_figures(engine: Engine):
    with transaction(engine) as session:
        model = session.scalars(select(Model)).one()
        v2 = Version(
            model_id=model.id, number=2, name="v2", state="candidate", flavour="torch", manifest_sha256="1" * 64,
            baseline={"stress": {"robust_auc": 0.81, "level": "S2"}},
        )  # fmt: skip
        with unguarded(session):
            session.add(v2)
            session.flush()
            model.champion_id = v2.id
    (row,) = queries.overview().rows
    assert (row.performance, row.robustness and row.robustness.value) == (None, 0.81)
    shown = view("model")
    assert shown.metric[0].value == "no labels yet"
    assert "NEWEST DRIFT CHECK OF V1" in said(shown)


@pytest.mark.usefixtures("fraud")
def test_a_confirmed_version_that_was_rolled_back_is_not_said_to_serve(engine: Engine):
    with transaction(engine) as session:
        proposal = session.scalars(select(Proposal)).one()
        v2 = Version(
            model_id=proposal.model_id, number=2, name="v2", state="retired", flavour="torch",
            manifest_sha256="1" * 64, baseline={},
        )  # fmt: skip
        with unguarded(session):
            session.add(v2)
            session.flush()
            proposal.candidate_id, proposal.state = v2.id, "confirmed"
    app = view("retraining")
    assert app.title[0].value == "Proposal #1 for fraud served; v1 has taken over since"
    assert app.button(key="promote_again").label == "Promote v2 again"


@pytest.mark.usefixtures("fraud")
def test_what_evidently_measured_is_shown_beside_the_verdict_and_a_report_can_be_ordered(engine: Engine):
    with transaction(engine) as session:
        drift = session.scalars(select(CheckRun).where(CheckRun.kind == "drift").order_by(CheckRun.id.desc())).first()
        assert drift is not None
        monitor = Monitor(model_id=drift.model_id, kind="evidently", name="psi", settings={})
        waiting = Monitor(model_id=drift.model_id, kind="evidently", name="new", settings={})
        session.add_all([monitor, waiting])
        session.flush()
        run = CheckRun(
            model_id=drift.model_id, version_id=drift.version_id, monitor_id=monitor.id, kind="evidently",
            starts=drift.starts, ends=drift.ends, status="ok",
        )  # fmt: skip
        session.add(run)
        session.flush()
        for subject, fired in (("fraud", False), ("amount", True)):
            session.add(
                Finding(
                    check_run_id=run.id, subject=subject, metric="ValueDrift(method=psi)", statistic=0.3, fired=fired
                )
            )
    app = view("drift")
    table = app.dataframe[1].value
    assert list(table["Column"]) == ["amount", "(the whole window)"]
    assert list(table["Fired"]) == [True, False]
    assert "new: waits for the next window" in said(app)
    app.button(key="order-report").click().run()
    assert "is queued" in app.success[0].value
    with transaction(engine) as session:
        assert len(session.scalars(select(Job).where(Job.kind == "report")).all()) == 1


@pytest.mark.usefixtures("fraud")
def test_an_e_value_too_large_for_a_column_of_numbers_is_shown_as_it_is(engine: Engine):
    with transaction(engine) as session:
        session.execute(update(Finding).where(Finding.subject == "amount").values(e_value=2.4195e38))
    table = view("drift").dataframe[0].value.set_index("Feature")
    assert table.loc["amount", "e-value"] == "2.4e+38"


@pytest.mark.usefixtures("fraud")
def test_who_only_looks_cannot_order_a_report(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(auth, "current_actor", lambda **_: Actor(id="eve", name="Eve", roles=frozenset({Role.VIEWER})))
    assert view("drift").button(key="order-report").disabled


def test_without_a_session_every_page_is_the_sign_in(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(auth, "current_actor", lambda **_: None)
    for name in VIEWS:
        app = view(name)
        assert [title.value for title in app.title] == ["Sign in to Holdfast"]


def test_a_database_that_does_not_answer_is_a_sentence(tmp_path: Path):
    place.use(place.Place(database_url="postgresql://nobody@127.0.0.1:1/none", artifact_dir=tmp_path))
    app = AppTest.from_file(str(SCRIPT), default_timeout=30).run()
    assert app.error[0].value == "The database does not answer."
    assert not app.exception


@pytest.mark.usefixtures("fraud")
def test_what_a_person_declares_on_the_drift_view_is_kept_and_said():
    app = view("drift", model="fraud", feature="age")
    assert "28 windows, the newest, from" in said(app)
    app.text_input(key="snooze-reason").input("known campaign")
    app = _submit(app, "Snooze")
    assert "Drift of age is snoozed until" in app.success[0].value
    assert "known campaign" in said(app)
    app = app.button(key="wake-age").click().run()
    assert app.success[0].value == "Drift of age speaks again."
    app.text_input(key="event-name").input("Black Friday")
    assert "expected the first day" in _submit(app, "Expect it").error[0].value
    app.number_input(key="weight-age").set_value(0.0)
    app = _submit(app, "Save", last=True)
    assert app.success[0].value == "age is muted from the next window on."
    assert queries.declared("fraud").settings.overrides["age"]["weight"] == 0
    app.number_input(key="incidents").set_value(1.0)
    app = _submit(app, "Save")
    assert app.success[0].value.startswith("1 false incident in ")
    app.text_input(key="segment-name").input("age=40")
    assert (
        "expected a level of merchant_category, channel, country" in _submit(app, "Watch it by itself").error[0].value
    )
    app.text_input(key="baseline-reason").input("it stays")
    assert _submit(app, "Accept as the new baseline").success[0].value.startswith("28 windows are the baseline now")


@pytest.mark.usefixtures("fraud")
def test_a_viewer_reads_what_was_declared_and_why_they_may_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(auth, "current_actor", lambda **_: Actor(id="eve", name="Eve", roles=frozenset({Role.VIEWER})))
    words = said(view("drift", model="fraud"))
    assert "to accept baseline needs one of" in words
    assert "to configure needs one of" in words


@pytest.mark.usefixtures("fraud")
def test_a_snoozed_alert_stays_on_the_list_as_snoozed():
    app = view("alerts", alert="2")
    app.text_input(key="snooze-reason").input("the bank holiday")
    app = _submit(app, "Snooze")
    assert app.title[0].value == "1 alert open, all snoozed"
    assert "the bank holiday" in said(app)
    app = app.button(key="wake-alert").click().run()
    assert app.title[0].value == "1 alert nobody has taken yet: fraud"


def _submit(app: AppTest, label: str, *, last: bool = False) -> AppTest:
    """Press the button of a form."""
    found = [button for button in app.button if button.label == label]
    return found[-1 if last else 0].click().run()


@pytest.mark.usefixtures("fraud")
def test_the_robustness_view_speaks_in_raw_units_and_names_what_breaks_the_model():
    app = view("robustness", model="fraud")
    words = said(app)
    assert "Restoring amount alone repairs " in words
    assert "half within 0.34; 22% hold at every budget" in words
    assert "At S2 16.0 % of recent rows are lost to the attack, 9.0 % of the reference's" in words
    assert "more fragile on today's data" in words
    assert app.selectbox(key="feature").value == "amount"
    assert {"Rows that", "Attack"} <= {column for table in app.dataframe for column in table.value.columns}
    old = view("robustness", model="fraud", campaign="registration")
    assert old.title[0].value.startswith("At S2 the AUC falls 0.81 → 0.75")


@pytest.mark.usefixtures("fraud")
def test_a_stress_test_is_ordered_watched_and_stopped(engine: Engine):
    with transaction(engine) as session:
        session.execute(update(Version).values(flavour="torch"))
    app = view("robustness", model="fraud").button(key="run-stress").click().run()
    assert "The stress test is queued" in app.success[0].value
    (job,) = _campaign_jobs(engine)
    assert (job.payload["plan"], job.payload["purpose"], job.payload["on"]) == ("tick", "command", None)
    assert app.button(key="cancel-stress").label == "Stop it"
    with transaction(engine) as session:
        session.add(Progress(job_id=job.id, done=40, total=100, sentence="attack at S2"))
    (running,) = queries.running_tests("fraud")
    assert (running.share, running.sentence, running.asked_by) == (0.4, "attack at S2", "ana")
    view("robustness", model="fraud").button(key="cancel-stress").click().run()
    assert [one.state for one in _campaign_jobs(engine)] == ["cancelled"]


@pytest.mark.usefixtures("fraud")
def test_who_only_looks_cannot_run_a_stress_test(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(auth, "current_actor", lambda **_: Actor(id="eve", name="Eve", roles=frozenset({Role.VIEWER})))
    assert view("robustness").button(key="run-stress").disabled


def _campaign_jobs(engine: Engine) -> list[Job]:
    with transaction(engine) as session:
        return list(session.scalars(select(Job).where(Job.kind == "campaign")))


@pytest.mark.usefixtures("fraud")
def test_a_shadow_shows_what_it_has_come_to_before_the_buttons(engine: Engine):
    with transaction(engine) as session:
        proposal = session.scalars(select(Proposal)).one()
        candidate = Version(
            model_id=proposal.model_id, number=2, name="v2", state="candidate", flavour="none", manifest_sha256="1" * 64
        )
        session.add(candidate)
        session.flush()
        proposal.candidate_id = candidate.id
        worse = {"feature": "channel", "slice": "= kiosk", "n": 212, "sentence": "channel = kiosk (n = 212): worse."}
        proposal.comparison = {"slices": [worse]}
        proposal.gates = [{"name": "clean", "value": 0.1, "limit": -0.1, "passed": True, "sentence": "Clean."}]
        model = session.get_one(Model, proposal.model_id)
        model.settings = {**model.settings, "shadow_windows": 3}
        terms = Terms(loss=Loss.BRIER, champion_by="traces")
        shadow = begin_shadow(session, proposal, model, since=proposal.created_at, terms=terms, now=proposal.created_at)
        losses = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 4_000, p=[0.02, 0.9, 0.08])
        sequence = ConfidenceSequence(lower=-1, upper=1).update(losses)
        decisions = {"rows": 4_000, "changed": 80, "examples": ["d1-<b>7", "d1-8"]}
        shadow.document = {**shadow.document, "sequence": sequence.to_document(), "decisions": decisions}
        shadow.rows = 4_000
        conclude(session, shadow, ShadowVerdict.WORSE, now=proposal.created_at)
    with transaction(engine) as session:
        page = proposal_page(session, proposal.id)
        assert page is not None
        assert page.worse[-1] == "channel = kiosk (n = 212): worse."
        ready = replace(page, state="awaiting_promotion", gates=page.gates[:1])
        assert ready.recommendation == (
            "Recommend: PROMOTE. All 1 gates passed. Worst risk: channel = kiosk (n = 212)."
        )
    words = said(view("retraining"))
    assert "Shadow: worse" in words
    assert "the candidate is worse than the champion" in words
    assert "d1-<b>7" in words
