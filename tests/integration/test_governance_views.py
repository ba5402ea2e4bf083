"""Registry, Audit and Settings on a real database: with rows, without any, and for who may not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from streamlit.testing.v1 import AppTest

from dashboard import auth, place, queries
from monitor.acts.sources import add_source
from monitor.db.audit import entries, record
from monitor.db.audit_heads import Keeper, sign_newest
from monitor.db.engine import database_now, transaction
from monitor.db.registry import Model, Version, model_named, source_of
from monitor.db.retraining import Proposal
from monitor.db.tokens import token_actor
from monitor.db.users import create_user, redeem_link, user_named
from monitor.governance.roles import Actor, Role
from monitor.intake.columns import Columns
from tests.governed import ANA, OMAR, govern
from tests.integration.test_audit_commands import tamper
from tests.integration.test_views import said, view
from tests.seeded import populate

ROOT = Actor(id="root", name="root", roles=frozenset({Role.ADMIN}))
AUD = Actor(id="aud", name="aud", roles=frozenset({Role.AUDITOR}))
EVE = Actor(id="eve", name="eve", roles=frozenset({Role.VIEWER}))


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper.of(tmp_path)


@pytest.fixture(autouse=True)
def served(database_url: str, tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The dashboard of this test's database, with the admin signed in."""
    place.use(place.Place(database_url=database_url, artifact_dir=tmp_path, keeper=keeper))
    monkeypatch.setattr(auth, "current_actor", lambda **_: ROOT)
    queries.forget()
    yield
    place.engine().dispose()


def signed_in(monkeypatch: pytest.MonkeyPatch, actor: Actor) -> None:
    monkeypatch.setattr(auth, "current_actor", lambda **_: actor)


@pytest.fixture
def fraud(engine: Engine) -> None:
    """fraud with v1 serving and v2, which proposal #1 made; the admin's account; some acts."""
    with transaction(engine) as session:
        seeded = populate(session, days=40)
        create_user(session, "root", ["admin"])
        version = Version(
            model_id=seeded.model.id, number=2, name="v2", state="candidate", flavour="torch",
            manifest={"provenance": {"weights_sha256": "ab" * 32}}, manifest_sha256="1" * 64, baseline={},
        )  # fmt: skip
        session.add(version)
        session.flush()
        session.get_one(Proposal, seeded.proposal.id).candidate_id = version.id
        for actor, action in (("omar", "model.frozen"), ("ana", "alert.acknowledged")):
            record(session, action, by=actor, subject="model:1", at=database_now(session), model="fraud", reason="<b>x")


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


@pytest.mark.usefixtures("fraud")
def test_the_registry_says_which_version_serves_and_where_each_came_from():
    app = view("registry", model="fraud")
    assert not app.exception
    assert app.title[0].value == "v1 of fraud serves; 1 other version is kept"
    table = app.dataframe[0].value.set_index("Version")
    assert table.loc["v2", "Came from"] == "proposal #1: hardened, over v1"
    assert table.loc["v1", "State"] == "champion"
    words = said(view("registry", model="fraud", version="v2"))
    assert "sha256 abababababababab…" in words
    assert "21,250 rows, sha256 9f3c9f3c9f3c9f3c…" in words
    assert "There is no version v7" in view("registry", model="fraud", version="v7").warning[0].value


@pytest.mark.usefixtures("fraud")
def test_freezing_asks_for_a_reason_and_shows_on_the_page(engine: Engine):
    app = press(view("registry", model="fraud"), "Freeze fraud")
    assert "expected a reason" in app.error[0].value
    app.text_input(key="freeze-reason-fraud").input("audit week")
    app = press(app, "Freeze fraud")
    assert app.success[0].value == "fraud is frozen: policy does nothing by itself."
    assert "Frozen: policy does nothing" in app.warning[0].value
    with transaction(engine) as session:
        assert model_named(session, "fraud").frozen
        assert [(one.actor, one.details["reason"]) for one in entries(session)][-1] == ("root", "audit week")
    app.text_input(key="freeze-reason-fraud").input("over")
    assert press(app, "Unfreeze fraud").success[0].value == "fraud is unfrozen."


@pytest.mark.usefixtures("fraud")
def test_a_freeze_of_everything_is_said(engine: Engine):
    tamper(engine, "INSERT INTO freezes (frozen_by, reason) VALUES ('omar', 'incident')")
    assert "Every automatic act is stopped" in view("registry", model="fraud").warning[0].value


@pytest.mark.usefixtures("fraud")
def test_who_only_looks_reads_the_registry_and_has_no_button(monkeypatch: pytest.MonkeyPatch):
    signed_in(monkeypatch, EVE)
    app = view("registry", model="fraud")
    assert "to freeze needs one of" in said(app)
    assert [button.label for button in app.button if "reeze" in str(button.label)] == []


@pytest.mark.usefixtures("fraud")
def test_the_audit_says_who_did_what_and_filters_by_the_url():
    app = view("audit")
    assert app.title[0].value.endswith("the newest by ana: alert.acknowledged")
    assert set(app.dataframe[0].value["Note"]) >= {"<b>x"}
    only = view("audit", who="omar")
    assert only.title[0].value == "1 act, the newest by omar: model.frozen"
    assert list(only.dataframe[0].value["Act"]) == ["model.frozen"]
    assert view("audit", who="nobody").title[0].value == app.title[0].value


@pytest.mark.usefixtures("fraud")
def test_the_audit_is_verified_against_its_signed_heads_by_a_click(engine: Engine, keeper: Keeper):
    with transaction(engine) as session:
        sign_newest(session, keeper)
        last = entries(session)[-1].id
    app = view("audit").button(key="verify").click().run()
    assert "and all 1 signed heads are in it" in app.success[0].value
    tamper(engine, f"DELETE FROM audit WHERE id = {last}")
    app = view("audit").button(key="verify").click().run()
    assert "the tail was cut" in app.error[0].value
    keeper.heads.write_text(keeper.heads.read_text().replace('"number":', '"number":1'))
    app = view("audit").button(key="verify").click().run()
    assert "The signed heads cannot be trusted" in app.error[0].value


@pytest.mark.usefixtures("fraud")
@pytest.mark.parametrize(("actor", "allowed"), [(AUD, True), (ROOT, True), (EVE, False)])
def test_the_audit_is_for_auditors_and_admins(monkeypatch: pytest.MonkeyPatch, actor: Actor, allowed: bool):
    signed_in(monkeypatch, actor)
    app = view("audit")
    assert bool(app.dataframe) is allowed
    assert ("to read audit needs one of admin, auditor; eve is viewer" in said(app)) is not allowed


def test_an_audit_without_any_act_says_so():
    app = view("audit")
    assert (app.title[0].value, bool(app.exception)) == ("Nothing was done yet.", False)


@pytest.mark.usefixtures("fraud")
def test_an_admin_adds_a_person_and_is_shown_the_link_once(engine: Engine):
    app = view("settings")
    assert app.title[0].value == "1 person may sign in; 0 programs hold a token"
    app.text_input(key="person-name").input("bob")
    app.multiselect(key="person-roles").select("operator")
    app = press(app, "Add and invite")
    assert app.success[0].value == "bob is operator. Send them the link below."
    link = app.code[0].value
    with transaction(engine) as session:
        assert redeem_link(session, link.partition("once=")[2])
    assert not app.run().code
    app.selectbox(key="person").select("bob").run()
    app.text_input(key="why-bob").input("left")
    app = app.button(key="disable").click().run()
    assert app.success[0].value == "bob is disabled, and signed out."
    with transaction(engine) as session:
        assert user_named(session, "bob").disabled
        assert link.partition("once=")[2] not in str([one.details for one in entries(session)])


@pytest.mark.usefixtures("fraud")
def test_roles_are_changed_and_refusals_are_sentences(engine: Engine):
    with transaction(engine) as session:
        create_user(session, "bob", ["viewer"])
    queries.forget()
    app = view("settings")
    app.selectbox(key="person").select("bob").run()
    app.multiselect(key="roles-bob").select("auditor")
    assert press(app, "Save the roles").success[0].value == "bob is auditor, viewer now."
    app = view("settings")
    app.selectbox(key="person").select("root").run()
    app.multiselect(key="roles-root").select("approver")
    assert "another admin changes yours" in press(app, "Save the roles").error[0].value
    app = view("settings")
    app.selectbox(key="person").select("root").run()
    app.text_input(key="why-root").input("x")
    assert "is the only admin" in app.button(key="disable").click().run().error[0].value


@pytest.mark.usefixtures("fraud")
def test_a_token_is_made_shown_once_and_revoked(engine: Engine):
    app = view("settings", about="Tokens")
    app.text_input(key="token-name").input("ci")
    app.multiselect(key="token-roles").select("operator")
    app.selectbox(key="token-model").select("fraud")
    app = press(app, "Create")
    secret = app.code[0].value
    with transaction(engine) as session:
        found = token_actor(session, secret)
        assert found is not None
        assert (found.model, found.roles) == ("fraud", {Role.OPERATOR})
    assert not app.run().code
    app = view("settings", about="Tokens").button(key="revoke").click().run()
    assert app.success[0].value == "Token ci is revoked."
    with transaction(engine) as session:
        assert token_actor(session, secret) is None


@pytest.mark.usefixtures("fraud")
def test_a_source_that_fails_is_shown_and_can_be_held(monkeypatch: pytest.MonkeyPatch, engine: Engine):
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        columns = Columns(time=("ts",), id="id")
        for name in ("logs", "shop"):
            add_source(
                session, model, name=name, kind="files", location=f"/{name}/*.csv", columns=columns, every_seconds=300,
                by=ROOT, now=database_now(session),
            )  # fmt: skip
        failing = source_of(session, model, "shop")
        failing.failures, failing.last_error = 2, "expected /shop, is it mounted?"
    app = view("settings", about="Sources")
    (table,) = [frame.value for frame in app.dataframe if "Source" in frame.value]
    assert list(table["State"]) == ["failing", "waiting"]
    assert app.warning[0].value.startswith("shop of fraud could not be read as a whole")
    app = app.button(key="hold-source").click().run()
    assert app.success[0].value == "shop of fraud is paused; its place is kept."
    with transaction(engine) as session:
        assert source_of(session, model_named(session, "fraud"), "shop").paused
    signed_in(monkeypatch, EVE)
    assert [button.label for button in view("settings", about="Sources").button] == ["Sign out"]


@pytest.mark.usefixtures("fraud")
def test_who_is_no_admin_sees_models_and_no_action(monkeypatch: pytest.MonkeyPatch, engine: Engine):
    with transaction(engine) as session:
        model = session.get_one(Model, 1)
        model.settings = model.settings | {"champion_webhook": "https://hooks.example/SECRET"}
    queries.forget()
    signed_in(monkeypatch, EVE)
    app = view("settings")
    assert not app.exception
    assert "to manage users needs one of admin; eve is viewer" in said(app)
    assert [button.label for button in app.button] == ["Sign out"]
    shown = view("settings", about="Models")
    assert list(shown.dataframe[0].value["Model"]) == ["fraud"]
    assert "SECRET" not in str([element.value for element in shown.json])


def test_settings_of_an_empty_database_are_drawn():
    app = view("settings")
    assert (app.title[0].value, bool(app.exception)) == ("0 people may sign in; 0 programs hold a token", False)


@pytest.mark.usefixtures("fraud")
def test_a_database_of_many_acts_shows_the_newest_and_says_so(engine: Engine):
    with transaction(engine) as session:
        for _ in range(205):
            record(session, "alert.acknowledged", by="ana", subject="alert:1", at=database_now(session))
        total = session.scalar(text("SELECT count(*) FROM audit"))
    app = view("audit")
    assert f"The newest 200 of {total}; an export holds all." in said(app)


def test_an_approver_signs_and_an_operator_revokes_and_retires_in_the_registry(
    monkeypatch: pytest.MonkeyPatch, engine: Engine
):
    with transaction(engine) as session:
        govern(session, tier=0)
    signed_in(monkeypatch, ANA)
    app = view("registry", model="fraud")
    app.text_input(key="envelope-reason-fraud").set_value("low risk")
    app = press(app, "Sign")
    assert "Policy may decide for fraud until" in app.success[0].value
    assert "by ana, holds until" in said(app)
    signed_in(monkeypatch, OMAR)
    app = view("registry", model="fraud")
    assert "needs one of approver" in said(app)
    app.text_input(key="revoke-reason-fraud").set_value("audit week")
    assert "people decide" in press(app, "Revoke").success[0].value
    app = press(view("registry", model="fraud"), "Retire the model fraud")
    assert "expected a reason" in app.error[0].value
    app.text_input(key="retire-reason-fraud").set_value("replaced by a rule")
    assert "fraud is retired" in press(app, "Retire the model fraud").title[0].value
