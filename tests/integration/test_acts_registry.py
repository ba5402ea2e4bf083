from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts.alerts import acknowledge, add_route, give_feedback, silence
from monitor.acts.baselines import accept_reference
from monitor.acts.registry import attach, register_model, register_version, set_champion
from monitor.acts.sources import add_source
from monitor.acts.users import change_roles, create_person, disable, invite
from monitor.artifacts import Manifest, Store, attach_trained
from monitor.db.alerts import Alert, Outbox, Route, Silence, queue_messages
from monitor.db.audit import AuditEntry, entries
from monitor.db.registry import Model, ModelSettings, Monitor, Reference, reference_for
from monitor.db.traces import read_traces
from monitor.db.users import actor_for, redeem_link
from monitor.drift import Reference as Normal
from monitor.errors import BadInput, NotAllowed, StaleDecision
from monitor.governance import POLICY
from monitor.intake.columns import Columns
from monitor.windows import Window
from tests.governed import ADMIN, ANA, BEGIN, DAY, FEATURES, NOW, OMAR, day_of, govern, schema, trained_champion


def reference_of(days: int) -> Normal:
    entries_ = [(Window(BEGIN + n * DAY, BEGIN + (n + 1) * DAY), day_of(n)[list(FEATURES)]) for n in range(days)]
    return Normal.fit(entries_, schema=schema())


def fired(session: Session, **changes: object) -> Alert:
    governed = govern(session)
    values: dict[str, object] = {
        "model_id": governed.model.id, "version_id": governed.champion.id, "kind": "drift", "cause": "drift",
        "severity": "ticket", "state": "firing", "verdict": "harmless_drift", "starts": BEGIN, "ends": BEGIN + DAY,
    }  # fmt: skip
    alert = Alert(**(values | changes))
    session.add(alert)
    session.flush()
    return alert


def test_a_registered_model_has_monitors_a_schema_and_empty_trace_tables(session: Session):
    governed = govern(session)
    kinds = session.scalars(select(Monitor.kind).where(Monitor.model_id == governed.model.id))
    assert set(kinds) == {"drift", "quality", "performance", "stress"}
    rows = read_traces(session, governed.model, Window(BEGIN, BEGIN + DAY))
    assert len(rows) == 0
    assert set(FEATURES) < set(rows.columns)


def test_the_first_champion_is_set_once(session: Session):
    governed = govern(session)
    assert governed.model.champion_id == governed.champion.id
    assert governed.champion.state == "champion"
    with pytest.raises(StaleDecision, match="has a champion already"):
        set_champion(session, governed.model, governed.champion, by=ADMIN, now=NOW)


UNUSABLE = {
    "there is a model 'fraud' already": {"name": "fraud"},
    "expected a model name": {"name": "a b"},
    "expected a task among": {"task": "ranking"},
    "expected a risk tier from 0 to 3": {"tier": 4},
}


def test_an_unusable_declaration_is_refused_in_a_sentence(session: Session):
    govern(session)
    declared: dict[str, object] = {"name": "credit", "owner": "ana", "task": "classification", "tier": 1}
    for sentence, changes in UNUSABLE.items():
        with pytest.raises(BadInput, match=sentence):
            register_model(
                session, **(declared | changes), schema=schema(), settings=ModelSettings(), by=ADMIN, now=NOW
            )  # fmt: skip


def test_registering_needs_an_operator(session: Session):
    with pytest.raises(NotAllowed, match="to register needs"):
        register_model(
            session, name="credit", owner="ana", task="classification", tier=1, schema=schema(),
            settings=ModelSettings(), by=ANA, now=NOW,
        )  # fmt: skip


def test_versions_are_numbered_and_policy_may_add_only_candidates(session: Session):
    model = govern(session).model
    second = register_version(session, model, manifest=None, state="candidate", by=POLICY, now=NOW)
    assert (second.name, second.number, second.flavour) == ("v2", 2, "none")
    with pytest.raises(NotAllowed):
        register_version(session, model, manifest=None, by=POLICY, now=NOW)
    with pytest.raises(BadInput, match="has a version 'v2' already"):
        register_version(session, model, manifest=None, name="v2", by=ADMIN, now=NOW)


def test_an_artefact_can_be_attached_once(session: Session, tmp_path):
    version = govern(session).champion
    manifest = attach_trained(trained_champion(), Store(tmp_path), schema=schema())
    attach(session, version, manifest, by=OMAR, now=NOW)
    assert Manifest.from_document(version.manifest) == manifest
    assert version.flavour == "torch"
    with pytest.raises(StaleDecision, match="has a torch artefact already"):
        attach(session, version, manifest, by=OMAR, now=NOW)


def test_a_new_reference_replaces_the_active_one_and_keeps_it(session: Session):
    governed = govern(session)
    first = accept_reference(session, governed.model, governed.champion, reference_of(20), by=POLICY, now=NOW)
    with pytest.raises(NotAllowed):
        accept_reference(session, governed.model, governed.champion, reference_of(21), by=POLICY, now=NOW)
    second = accept_reference(session, governed.model, governed.champion, reference_of(21), by=OMAR, now=NOW)
    assert reference_for(session, governed.champion) == second
    session.refresh(first)
    assert not first.active
    assert session.scalars(select(Reference.windows).order_by(Reference.id)).all() == [20, 21]


def test_every_act_leaves_an_audit_record(session: Session):
    governed = govern(session)
    declared = {"name": "files", "kind": "files", "columns": Columns(time=("ts",))}
    add_source(session, governed.model, **declared, location="x/*.csv", by=ADMIN, now=NOW)
    acts = [entry.action for entry in entries(session)]
    assert acts == ["model.registered", "version.registered", "model.champion_set", "source.added"]
    with pytest.raises(BadInput, match="has a source 'files' already"):
        add_source(session, governed.model, **declared, location="", by=ADMIN, now=NOW)


def test_an_alert_is_taken_once_and_others_see_by_whom(session: Session):
    alert = fired(session)
    acknowledge(session, alert, by=OMAR, now=NOW)
    assert (alert.state, alert.acknowledged_by) == ("acknowledged", "omar")
    with pytest.raises(StaleDecision, match="is acknowledged, not firing"):
        acknowledge(session, alert, by=ANA, now=NOW)
    acts = session.scalars(select(AuditEntry.action).where(AuditEntry.subject == f"alert:{alert.id}"))
    assert acts.all() == ["alert.acknowledged"]


def test_feedback_is_one_of_three_words_and_can_be_changed(session: Session):
    alert = fired(session)
    give_feedback(session, alert, feedback="useful", by=ANA, now=NOW)
    give_feedback(session, alert, feedback="false", by=ANA, now=NOW)
    assert alert.feedback == "false"
    with pytest.raises(StaleDecision):
        give_feedback(session, alert, feedback="false", by=ANA, now=NOW)
    with pytest.raises(BadInput, match="useful, expected, false"):
        give_feedback(session, alert, feedback="meh", by=ANA, now=NOW)


def owe(session: Session, alert: Alert, key: str, **changes: object) -> int:
    given: dict[str, object] = {"severity": alert.severity, "model_id": alert.model_id, "alert_id": alert.id} | changes
    return queue_messages(session, event="fired", message={"title": "t"}, key=key, **given)


def test_a_message_is_owed_once_to_every_route_that_wants_its_severity(session: Session):
    alert = fired(session)
    for name, least in (("all", "info"), ("tickets", "ticket"), ("pages", "page")):
        add_route(session, name=name, url="console:", model=None, least_severity=least, by=ADMIN, now=NOW)
    other = Model(name="credit", owner="ana", task="classification")
    session.add(other)
    session.flush()
    add_route(session, name="credit", url="console:", model=other, least_severity="info", by=ADMIN, now=NOW)
    assert owe(session, alert, "k") == 2
    assert owe(session, alert, "k") == 0
    routes = session.scalars(select(Route.name).join(Outbox, Outbox.route_id == Route.id).order_by(Route.name))
    assert routes.all() == ["all", "tickets"]


def test_a_silence_withholds_its_cause_and_nothing_else(session: Session):
    alert = fired(session)
    route = add_route(session, name="all", url="console:", model=None, least_severity="info", by=ADMIN, now=NOW)
    until = session.scalars(select(Alert.opened_at)).one() + timedelta(hours=1)
    governed = session.get_one(Model, alert.model_id)
    silenced = silence(
        session, model=governed, cause="drift", until=until, reason="planned campaign", by=OMAR,
        now=until - timedelta(hours=1),
    )  # fmt: skip
    assert owe(session, alert, "drift") == 0
    assert owe(session, alert, "about the model", alert_id=None) == 1
    assert owe(session, alert, "drill", only_route=route.id) == 1
    assert session.scalars(select(Silence.author)).all() == [silenced.author]
    with pytest.raises(BadInput, match="expected a reason"):
        silence(session, model=None, cause=None, until=until, reason=" ", by=OMAR, now=NOW)


def test_a_routes_address_never_reaches_the_audit(session: Session):
    add_route(session, name="slack", url="slack://secret/token", model=None, least_severity="page", by=ADMIN, now=NOW)
    assert "secret" not in str([entry.details for entry in entries(session)])
    with pytest.raises(NotAllowed):
        add_route(session, name="x", url="console:", model=None, least_severity="page", by=replace(ANA), now=NOW)


def test_an_admin_manages_people_and_no_secret_is_recorded(session: Session):
    person = create_person(session, name="zoe", roles=["viewer"], password="correct horse", by=ADMIN, now=NOW)
    change_roles(session, person, roles=["approver", "viewer"], by=ADMIN, now=NOW)
    with pytest.raises(StaleDecision, match="has these roles already"):
        change_roles(session, person, roles=["viewer", "approver"], by=ADMIN, now=NOW)
    token = invite(session, person, lifetime=timedelta(hours=1), by=ADMIN, now=NOW)
    opened = redeem_link(session, token)
    disable(session, person, by=ADMIN, reason="left", now=NOW)
    assert actor_for(session, opened) is None
    written = str([(entry.action, entry.details) for entry in entries(session)])
    assert "user.disabled" in written
    assert "correct horse" not in written
    assert token not in written


def test_only_an_admin_manages_people(session: Session):
    with pytest.raises(NotAllowed):
        create_person(session, name="zoe", roles=["viewer"], by=OMAR, now=NOW)
    create_person(session, name="zoe", roles=["viewer"], by=ADMIN, now=NOW)
    with pytest.raises(BadInput, match="there is an account 'zoe' already"):
        create_person(session, name="zoe", roles=["viewer"], by=ADMIN, now=NOW)
