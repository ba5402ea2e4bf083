"""`holdfast user` and `holdfast token`: on the record, by the owner of the data or by a named admin."""

import io
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from monitor.db.audit import entries
from monitor.db.engine import transaction
from monitor.db.tokens import token_actor
from monitor.db.users import SignInLink, Token, redeem_link, sign_in_by_password, user_named
from tests.commands import Commands
from tests.governed import govern


@pytest.fixture
def holdfast(database_url: str, tmp_path: Path) -> Commands:
    return Commands(url=database_url, home=tmp_path / "home")


def test_people_are_added_invited_disabled_and_enabled(holdfast: Commands, engine: Engine):
    assert holdfast.well("user", "list") == ""
    assert "root is admin" in holdfast.well("user", "add", "root", "admin")
    holdfast.well("user", "add", "eve", "viewer", "operator", "--as", "root")
    assert holdfast.well("user", "list").splitlines()[0].split() == ["eve", "operator,", "viewer"]
    link = holdfast.well("user", "invite", "eve", "--as", "root").strip()
    with transaction(engine) as session:
        assert redeem_link(session, link.partition("once=")[2])
    assert "expected a reason" in holdfast("user", "disable", "eve").err
    holdfast.well("user", "disable", "eve", "--reason", "left", "--as", "root")
    assert holdfast.well("user", "list").splitlines()[0].endswith("disabled")
    assert "the account eve is disabled" in holdfast("audit", "list", "--as", "eve").err
    holdfast.well("user", "enable", "eve")
    assert "eve is auditor now" in holdfast.well("user", "roles", "eve", "auditor", "--as", "root")
    with transaction(engine) as session:
        acts = [(entry.actor, entry.action) for entry in entries(session)]
    assert acts == [
        ("cli", "user.created"), ("root", "user.created"), ("root", "user.invited"), ("root", "user.disabled"),
        ("cli", "user.enabled"), ("root", "user.roles_changed"),
    ]  # fmt: skip


def test_nobody_raises_themselves_and_the_last_admin_stays(holdfast: Commands):
    holdfast.well("user", "add", "root", "admin")
    holdfast.well("user", "add", "eve", "viewer")
    assert "needs one of admin" in holdfast("user", "roles", "eve", "admin", "--as", "eve").err
    assert "another admin changes yours" in holdfast("user", "roles", "root", "admin", "approver", "--as", "root").err
    assert "is the only admin" in holdfast("user", "disable", "root", "--reason", "x").err
    assert "is the only admin" in holdfast("user", "roles", "root", "viewer").err
    assert "got king" in holdfast("user", "add", "bob", "king").err


def test_a_password_is_read_and_never_an_argument(holdfast: Commands, engine: Engine, monkeypatch: pytest.MonkeyPatch):
    holdfast.well("user", "add", "eve", "viewer")
    assert "expected a terminal" in holdfast("user", "password", "eve").err
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse battery\n"))
    assert "signed out everywhere" in holdfast.well("user", "password", "eve", "--stdin")
    with transaction(engine) as session:
        assert sign_in_by_password(session, "eve", "correct horse battery")
    monkeypatch.setattr(sys, "stdin", io.StringIO("short\n"))
    assert "at least 12 characters, got 5" in holdfast("user", "password", "eve", "--stdin").err


def test_a_token_is_printed_once_and_revoked(holdfast: Commands, engine: Engine):
    with transaction(engine) as session:
        govern(session)
    made = holdfast("token", "create", "ci", "operator", "viewer", "--model", "fraud", "--days", 7)
    secret = made.out.strip()
    assert (made.code, secret.startswith("hf_"), "shown this once" in made.err) == (0, True, True)
    listed = holdfast.well("token", "list")
    assert listed.split()[:5] == ["ci", "operator,", "viewer", "fraud", "never"]
    assert secret not in listed
    with transaction(engine) as session:
        found = token_actor(session, secret)
        assert found is not None
        assert (found.model, sorted(found.roles)) == ("fraud", ["operator", "viewer"])
    assert "token ci is revoked" in holdfast.well("token", "revoke", "ci", "--reason", "leaked")
    assert "revoked" in holdfast.well("token", "list")
    assert "revoked already" in holdfast("token", "revoke", "ci").err
    assert "no token 'x'; there are: ci" in holdfast("token", "revoke", "x").err
    assert "people alone" in holdfast("token", "create", "bot", "approver").err
    assert "no model 'none'" in holdfast("token", "create", "bot", "viewer", "--model", "none").err


def test_an_expired_token_says_so(holdfast: Commands, engine: Engine):
    holdfast.well("token", "create", "ci", "viewer")
    with transaction(engine) as session:
        session.execute(update(Token).values(expires_at=Token.created_at))
    assert "expired" in holdfast.well("token", "list")


def test_invitations_of_a_disabled_person_are_void(holdfast: Commands, engine: Engine):
    holdfast.well("user", "add", "root", "admin")
    holdfast.well("user", "add", "eve", "viewer")
    holdfast.well("user", "invite", "eve")
    holdfast.well("user", "disable", "eve", "--reason", "left")
    with transaction(engine) as session:
        assert user_named(session, "eve").disabled
        assert session.query(SignInLink).where(SignInLink.used_at.is_(None)).count() == 0
