from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from monitor.db.users import (
    SignIn,
    SignInLink,
    User,
    actor_for,
    change_user,
    create_user,
    find_user,
    make_link,
    redeem_link,
    revoke,
    sign_in_by_password,
    user_named,
)
from monitor.errors import BadInput, NotAllowed, NotFound
from monitor.governance.roles import Role

PASSWORD = "correct horse battery"
SHORT = timedelta(minutes=5)


@pytest.fixture
def ann(session) -> User:
    return create_user(session, "ann", [Role.APPROVER, Role.OPERATOR], PASSWORD)


@pytest.fixture
def token(session, ann) -> str:
    return redeem_link(session, make_link(session, ann, lifetime=SHORT))


def test_a_link_signs_its_user_in(session, token):
    actor = actor_for(session, token)
    assert actor is not None
    assert (actor.id, actor.roles) == ("ann", {Role.APPROVER, Role.OPERATOR})


def test_a_link_works_once(session, ann):
    link = make_link(session, ann, lifetime=SHORT)
    redeem_link(session, link)
    with pytest.raises(NotAllowed, match="was used"):
        redeem_link(session, link)


def test_a_link_expires(session, ann):
    link = make_link(session, ann, lifetime=SHORT)
    session.execute(update(SignInLink).values(expires_at=func.now()))
    with pytest.raises(NotAllowed, match="has expired"):
        redeem_link(session, link)


def test_a_page_that_refreshes_itself_does_not_keep_a_session_awake(session, token):
    before = func.now() - timedelta(minutes=20)
    session.execute(update(SignIn).values(seen_at=before))
    assert actor_for(session, token, active=False) is not None
    idle = func.now() - SignIn.seen_at > timedelta(minutes=19)
    assert session.scalar(select(idle)) is True
    assert actor_for(session, token) is not None
    assert session.scalar(select(idle)) is False


def test_secrets_are_stored_as_hashes_only(session, ann, token):
    assert token not in session.scalars(select(SignIn.token_sha256)).all()
    assert PASSWORD not in str(ann.password_hash)


def test_a_password_signs_in_and_a_wrong_one_does_not(session, ann):
    assert actor_for(session, sign_in_by_password(session, "ann", PASSWORD)) is not None
    for name, password in (("ann", "wrong"), ("nobody", PASSWORD)):
        with pytest.raises(NotAllowed, match="one of the two is wrong"):
            sign_in_by_password(session, name, password)


def test_an_account_without_a_password_has_none_to_guess(session):
    create_user(session, "bob", [Role.VIEWER])
    with pytest.raises(NotAllowed):
        sign_in_by_password(session, "bob", "")


@pytest.mark.parametrize(("column", "ago"), [("seen_at", timedelta(minutes=30)), ("expires_at", timedelta(0))])
def test_a_session_ends_when_it_is_idle_or_old(session, token, column, ago):
    session.execute(update(SignIn).values({column: func.now() - ago}))
    assert actor_for(session, token) is None


def test_use_keeps_a_session_awake(session, token):
    session.execute(update(SignIn).values(seen_at=func.now() - timedelta(minutes=29)))
    actor_for(session, token)
    session.flush()
    assert session.scalar(select(func.now() - SignIn.seen_at)) == timedelta(0)


def test_a_revoked_session_and_an_unknown_token_are_nobody(session, token):
    revoke(session, token)
    assert actor_for(session, token) is None
    assert actor_for(session, "forged") is None


def test_disabling_an_account_acts_at_once(session, ann, token):
    change_user(session, ann, disabled=True)
    assert actor_for(session, token) is None
    with pytest.raises(NotAllowed):
        sign_in_by_password(session, "ann", PASSWORD)


def test_changed_roles_act_on_the_next_request(session, ann, token):
    change_user(session, ann, roles=[Role.VIEWER])
    actor = actor_for(session, token)
    assert actor is not None
    assert actor.roles == {Role.VIEWER}


@pytest.mark.parametrize(
    ("name", "roles", "password", "message"),
    [
        ("policy", ["viewer"], None, "other than 'policy'"),
        ("<b>", ["viewer"], None, "expected a name of letters"),
        ("ann", ["viewer"], None, "who has an account already"),
        ("bob", ["king"], None, "expected roles among viewer.*got king"),
        ("bob", [], None, "got none"),
        ("bob", ["viewer"], "short", "at least 12 characters, got 5"),
    ],
)
def test_accounts_that_cannot_be_are_refused(session, ann, name, roles, password, message):
    with pytest.raises(BadInput, match=message):
        create_user(session, name, roles, password)


def test_an_unknown_user_is_answered_with_those_there_are(session, ann):
    assert find_user(session, "zoe") is None
    with pytest.raises(NotFound, match="no user 'zoe'; there are: ann"):
        user_named(session, "zoe")
