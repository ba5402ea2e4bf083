"""Envelopes, retirement and the freeze of everything at the command line and over HTTP."""

import json

import pytest
from sqlalchemy import Engine, select
from typer.testing import CliRunner

from monitor.cli.app import app
from monitor.db.engine import transaction
from monitor.db.registry import Model
from monitor.db.retraining import Envelope, Freeze
from monitor.errors import BadInput, NotAllowed
from tests.governed import govern


@pytest.fixture
def holdfast(engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch):
    """The command on this test's database, and the model `fraud` at tier 0."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    with transaction(engine) as session:
        govern(session, tier=0)

    def run(*words: str) -> str:
        return CliRunner().invoke(app, list(words), catch_exceptions=False).output

    return run


def test_an_approver_signs_shows_and_revokes_an_envelope(holdfast, engine: Engine, tmp_path):
    limits = tmp_path / "limits.json"
    limits.write_text(json.dumps({"clean_loss": 0.002, "most_rows": 50_000}))
    said = holdfast("envelope", "sign", "fraud", str(limits), "--reason", "low risk", "--as", "ana")
    assert "policy may decide for fraud until" in said
    assert "clean_loss    0.002" in said
    assert "signed by ana" in holdfast("envelope", "show", "fraud")
    assert "people decide" in holdfast("envelope", "revoke", "fraud", "--reason", "audit", "--as", "omar")
    with transaction(engine) as session:
        assert session.scalars(select(Envelope.revoked_by)).all() == ["omar"]


def test_an_unknown_limit_and_a_signer_without_the_role_are_refused_in_a_sentence(holdfast, tmp_path):
    limits = tmp_path / "limits.json"
    limits.write_text('{"clean_lost": 1}')
    with pytest.raises(BadInput, match="expected limits among verdicts, recipes"):
        holdfast("envelope", "sign", "fraud", str(limits), "--reason", "x", "--as", "ana")
    with pytest.raises(NotAllowed, match="needs one of approver"):
        holdfast("envelope", "sign", "fraud", "--reason", "x", "--as", "omar")


def test_everything_is_frozen_and_a_model_retired_by_a_named_person(holdfast, engine: Engine):
    assert "everything is frozen" in holdfast("freeze", "--all", "--reason", "incident", "--as", "omar")
    assert "everything is unfrozen" in holdfast("unfreeze", "--all", "--reason", "over", "--as", "omar")
    with pytest.raises(BadInput, match="or --all"):
        holdfast("freeze", "--reason", "incident", "--as", "omar")
    with pytest.raises(NotAllowed, match="v1 serves"):
        holdfast("retire", "fraud", "--version", "v1", "--reason", "old", "--as", "omar")
    assert holdfast("retire", "fraud", "--reason", "replaced", "--as", "omar") == "fraud is retired\n"
    with transaction(engine) as session:
        assert session.scalars(select(Model.retired_at)).one() is not None
        assert session.scalars(select(Freeze.lifted_by)).all() == ["omar"]


def test_what_is_asked_of_the_loop_is_kept_shown_and_held_to_its_range(holdfast, engine: Engine):
    said = holdfast(
        "loop", "set", "fraud", "--retrain-every", "30", "--allow-leaks", "amount", "--approval-hours", "48",
        "--observed-windows", "5",
    )  # fmt: skip
    assert "every 30 windows" in said
    assert "72 h for a decision, 48 h for a worker" in said
    assert "leaks allowed      amount" in said
    assert "on schedule        never" in holdfast("loop", "set", "fraud", "--retrain-every", "0")
    with pytest.raises(BadInput, match="no feature amonut"):
        holdfast("loop", "set", "fraud", "--allow-leaks", "amonut")
    with pytest.raises(BadInput, match="expected to observe 1 to"):
        holdfast("loop", "set", "fraud", "--observed-windows", "0")
    with pytest.raises(BadInput, match="longer than none"):
        holdfast("loop", "set", "fraud", "--approval-hours", "0")
