"""Accounts and tokens: who may change them, over the acts and over HTTP; what a program may never do."""

import re
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from monitor.acts.tokens import create_token, revoke_token
from monitor.acts.users import change_roles, create_person, disable, enable, invite, set_password
from monitor.api.app import api as monitor_api
from monitor.db.audit import entries
from monitor.db.engine import transaction
from monitor.db.tokens import token_actor
from monitor.db.users import Token, create_user, make_link, redeem_link, sign_in_by_password, user_named
from monitor.errors import BadInput, HoldfastError, NotAllowed, StaleDecision
from monitor.governance import Action, Actor, Role, authorize
from tests.governed import NOW
from tests.integration.test_door import Browser
from tests.seeded import Seeded, populate

ROOT = Actor(id="root", name="root", roles=frozenset({Role.ADMIN}))


@pytest.fixture
def seeded(engine: Engine) -> Seeded:
    with transaction(engine) as session:
        seeded = populate(session, days=40)
        populate(session, name="credit", days=40, seed=1)
        create_user(session, "root", ["admin", "operator"])
        return seeded


def program(engine: Engine, *, roles: tuple[str, ...] = ("operator",), model: str | None = None) -> dict[str, str]:
    """The headers of a program with a fresh token."""
    with transaction(engine) as session:
        row = None
        if model is not None:
            from monitor.db.registry import model_named

            row = model_named(session, model)
        name = f"ci-{model or 'all'}-{'-'.join(roles)}"
        now = session.scalar(select(func.now()))
        _, secret = create_token(session, name=name, roles=roles, model=row, by=ROOT, now=now)
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def api(engine: Engine, tmp_path: Path) -> Browser:
    return Browser(engine, tmp_path)


@pytest.fixture
def root(api: Browser, engine: Engine, seeded: Seeded) -> Browser:
    """The admin's browser."""
    with transaction(engine) as session:
        once = make_link(session, user_named(session, "root"), lifetime=timedelta(minutes=5))
    api.get(f"/sign-in?once={once}")
    return api


def test_the_last_admin_stays_admin_and_enabled(session: Session):
    ann = create_user(session, "ann", ["admin"])
    with pytest.raises(BadInput, match="only admin and cannot be disabled"):
        disable(session, ann, by=ROOT, reason="left", now=NOW)
    with pytest.raises(BadInput, match="only admin and cannot lose the role"):
        change_roles(session, ann, roles=["viewer"], by=ROOT, now=NOW)
    bob = create_user(session, "bob", ["admin"])
    disable(session, ann, by=ROOT, reason="left", now=NOW)
    with pytest.raises(BadInput, match="bob is the only admin"):
        change_roles(session, bob, roles=["viewer"], by=ROOT, now=NOW)
    enable(session, ann, by=ROOT, now=NOW)
    change_roles(session, bob, roles=["viewer"], by=ROOT, now=NOW)
    assert (ann.disabled, ann.roles, bob.roles) == (False, ["admin"], ["viewer"])


def test_two_admins_who_disable_each_other_at_once_leave_one(engine: Engine):
    with transaction(engine) as session:
        for name in ("ann", "bob"):
            create_user(session, name, ["admin"])
    together, refused = Barrier(2), []

    def act(who: str, whom: str) -> None:
        try:
            with transaction(engine) as session:
                by = Actor(id=who, name=who, roles=frozenset({Role.ADMIN}))
                person = user_named(session, whom)
                together.wait()
                disable(session, person, by=by, reason="race", now=NOW)
        except HoldfastError as error:
            refused.append(str(error))

    threads = [Thread(target=act, args=pair) for pair in (("ann", "bob"), ("bob", "ann"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    with transaction(engine) as session:
        assert sorted(user_named(session, name).disabled for name in ("ann", "bob")) == [False, True]


def test_disabling_ends_unused_links_and_needs_a_reason(session: Session):
    create_user(session, "ann", ["admin"])
    bob = create_user(session, "bob", ["viewer"])
    once = invite(session, bob, lifetime=timedelta(hours=1), by=ROOT, now=NOW)
    with pytest.raises(BadInput, match="expected a reason"):
        disable(session, bob, by=ROOT, reason=" ", now=NOW)
    disable(session, bob, by=ROOT, reason="left", now=NOW)
    with pytest.raises(StaleDecision, match="enable the account before"):
        invite(session, bob, lifetime=timedelta(hours=1), by=ROOT, now=NOW)
    enable(session, bob, by=ROOT, now=NOW)
    with pytest.raises(NotAllowed, match="unknown, was used"):
        redeem_link(session, once)


def test_a_person_sets_their_own_password_and_an_admin_sets_anybodys(session: Session):
    bob = create_person(session, name="bob", roles=["viewer"], by=ROOT, now=NOW)
    own = Actor(id="bob", name="bob", roles=frozenset({Role.VIEWER}))
    set_password(session, bob, password="correct horse battery", by=own, now=NOW)
    assert sign_in_by_password(session, "bob", "correct horse battery")
    with pytest.raises(NotAllowed, match="to manage users needs one of admin"):
        set_password(session, create_user(session, "eve", ["viewer"]), password="x" * 12, by=own, now=NOW)
    assert "correct horse" not in str([entry.details for entry in entries(session)])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"roles": ["approver"]}, "got approver: votes and accounts are for people alone"),
        ({"roles": ["operator", "admin"]}, "got admin"),
        ({"roles": ["king"]}, "got king"),
        ({"roles": []}, "got none"),
        ({"name": "a:b"}, "expected a name of letters"),
        ({"name": "taken"}, "there is or was a token 'taken'"),
        ({"lifetime": timedelta(days=400)}, "got 400"),
        ({"lifetime": timedelta(0)}, "got 0"),
    ],
)
def test_tokens_that_cannot_be_are_refused(session: Session, settings: dict[str, object], sentence: str):
    create_token(session, name="taken", roles=["viewer"], by=ROOT, now=NOW)
    with pytest.raises(BadInput, match=sentence):
        create_token(session, **{"name": "ci", "roles": ["viewer"], "by": ROOT, "now": NOW} | settings)  # type: ignore[arg-type]


def test_only_an_admin_makes_tokens_and_only_the_hash_is_kept(session: Session):
    with pytest.raises(NotAllowed):
        create_token(
            session, name="ci", roles=["viewer"], now=NOW,
            by=Actor(id="o", name="o", roles=frozenset({Role.OPERATOR})),
        )  # fmt: skip
    token, secret = create_token(session, name="ci", roles=["viewer"], by=ROOT, now=NOW)
    assert (len(token.token_sha256), token.expires_at) == (64, NOW + timedelta(days=90))
    assert secret not in str([vars(token), *(entry.details for entry in entries(session))])


@pytest.mark.parametrize(
    "act",
    [
        Action.APPROVE,
        Action.PROMOTE,
        Action.PROMOTE_AGAIN,
        Action.REJECT,
        Action.REQUEST_RETRAINING,
        Action.MANAGE_USERS,
    ],
)
def test_a_program_never_votes_nor_says_who_may_whatever_roles_it_were_given(act: Action):
    robot = Actor(id="token:ci", name="token ci", roles=frozenset(Role), program=True)
    with pytest.raises(NotAllowed, match=r"needs a person; token ci is a program"):
        authorize(robot, act, tier=0, solo=True, reason="why")


def test_a_program_reads_and_operates_but_its_vote_is_refused_in_a_sentence(
    api: Browser, engine: Engine, seeded: Seeded
):
    headers = program(engine)
    assert [one["name"] for one in api.get("/v1/models", headers=headers).json()] == ["credit", "fraud"]
    vote = {"evidence_sha256": seeded.proposal.evidence_sha256, "reason": "auto"}
    for word in ("approve", "reject", "promote"):
        answer = api.post(f"/v1/proposals/{seeded.proposal.id}/{word}", json=vote, headers=headers)
        assert answer.status_code in (403, 409)
        if word != "promote":
            assert "is a program: sign in and decide yourself" in answer.json()["error"]
    assert api.post("/v1/users", json={"name": "eve", "roles": ["approver"]}, headers=headers).status_code == 403


def test_a_token_for_one_model_reaches_that_model_alone(api: Browser, engine: Engine, seeded: Seeded):
    headers = program(engine, model="credit")
    own, other = seeded.proposal.id + 1, seeded.proposal.id
    assert [one["name"] for one in api.get("/v1/models", headers=headers).json()] == ["credit"]
    assert api.get("/v1/models/credit/verdicts", headers=headers).status_code == 200
    for path in ("/v1/models/fraud/verdicts", "/v1/models/none/verdicts", "/v1/calendar", "/v1/calendar?model=credit"):
        answer = api.get(path, headers=headers)
        assert (answer.status_code, "is for model credit alone" in answer.json()["error"]) == (403, True)
    vote = {"evidence_sha256": "0" * 64}
    assert "for model credit" in api.post(f"/v1/proposals/{other}/approve", json=vote, headers=headers).json()["error"]
    assert api.post(f"/v1/proposals/{own}/approve", json=vote, headers=headers).status_code == 409
    assert api.post(f"/v1/alerts/{seeded.alert.id}/wake", headers=headers).status_code == 403
    assert api.post(f"/v1/proposals/{'9' * 30}/approve", json=vote, headers=headers).status_code in (403, 422)


def test_every_route_refuses_a_token_of_another_model(api: Browser, engine: Engine, seeded: Seeded):
    headers, asked = program(engine, model="credit"), 0
    known = {"name": "fraud", "proposal_id": str(seeded.proposal.id), "alert_id": str(seeded.alert.id)}
    for path, methods in monitor_api(engine).openapi()["paths"].items():
        if path.startswith("/trainings/"):
            continue  # a trainer outside answers there, with the token of that training alone
        filled = re.sub(r"\{(\w+)\}", lambda part: known.get(part[1], "1"), path)
        for method in {method.upper() for method in methods} if path != "/models" else ():
            answer = api.send(method, f"/v1{filled}", headers=headers, json={})
            assert answer.status_code in (401, 403), (method, path, answer.text)
            asked += 1
    assert asked > 40


def test_a_revoked_an_expired_and_a_forged_token_are_refused_on_the_next_request(
    api: Browser, engine: Engine, seeded: Seeded
):
    headers = program(engine)
    assert api.get("/v1/models", headers=headers).status_code == 200
    with transaction(engine) as session:
        revoke_token(session, session.scalars(select(Token)).one(), by=ROOT, now=NOW)
    answer = api.get("/v1/models", headers=headers)
    assert (answer.status_code, "was revoked" in answer.json()["error"]) == (401, True)
    expired = program(engine, roles=("viewer",))
    with transaction(engine) as session:
        session.execute(update(Token).where(Token.revoked_at.is_(None)).values(expires_at=func.now()))
    for wrong in (expired, {"Authorization": "Bearer hf_forged"}, {"Authorization": "Basic YTpi"}):
        assert api.get("/v1/models", headers=wrong).status_code == 401
        assert api.get("/reports/1", headers=wrong).status_code == 401


def test_a_cookie_does_not_help_a_token_that_is_refused(root: Browser):
    assert root.get("/v1/users").status_code == 200
    assert root.get("/v1/users", headers={"Authorization": "Bearer hf_forged"}).status_code == 401


def test_using_a_token_leaves_a_trace_on_it(session: Session):
    now = session.scalar(select(func.now()))
    assert now is not None
    token, secret = create_token(session, name="ci", roles=["viewer"], by=ROOT, now=now)
    found = token_actor(session, secret)
    assert found is not None
    assert (found.id, found.program, token.used_at) == ("token:ci", True, now)


def test_an_admin_adds_invites_and_disables_people_over_http(root: Browser, engine: Engine, tmp_path: Path):
    assert root.post("/v1/users", json={"name": "eve", "roles": ["viewer"]}).json()["roles"] == ["viewer"]
    invitation = root.post("/v1/users/eve/invite").json()
    eve = Browser(engine, tmp_path)
    assert eve.get(f"/sign-in?once={invitation['once']}").status_code == 303
    assert eve.get("/v1/models").status_code == 200
    for path in ("/v1/users", "/v1/tokens"):
        answer = eve.get(path)
        assert (answer.status_code, "to manage users needs one of admin" in answer.json()["error"]) == (403, True)
    assert "root" not in eve.post("/v1/users/zoe/enable", json={}).text
    assert root.post("/v1/users/eve/roles", json={"roles": ["auditor"]}).json()["roles"] == ["auditor"]
    assert root.post("/v1/users/eve/disable", json={"reason": "left"}).status_code == 200
    assert eve.get("/v1/models").status_code == 401
    assert root.post("/v1/users/root/roles", json={"roles": ["viewer"]}).status_code == 422


def test_an_admin_makes_and_revokes_tokens_over_http(root: Browser, api: Browser):
    made = root.post("/v1/tokens", json={"name": "ci", "roles": ["operator"], "model": "fraud", "days": 7}).json()
    assert made["secret"].startswith("hf_")
    (listed,) = root.get("/v1/tokens").json()
    assert (listed["model"], "secret" in listed, "token_sha256" in listed) == ("fraud", False, False)
    assert root.delete("/v1/tokens/ci").json()["sentence"] == "token ci is revoked"
    assert root.delete("/v1/tokens/ci").status_code == 409
    assert root.post("/v1/tokens", json={"name": "x", "roles": ["operator"], "model": "none"}).status_code == 404
