"""`holdfast proposal …`, `rollback`, `freeze`: decisions at the command line are a named person's, on evidence."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from monitor.acts.proposals import move
from monitor.acts.registry import register_version
from monitor.db.audit import entries
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Job
from monitor.db.registry import FeatureSchema, Model
from monitor.db.retraining import Progress, Proposal, Shadow, Vote
from monitor.db.traces import create_trace_tables
from monitor.db.users import create_user
from monitor.governance import POLICY, ProposalState
from tests.commands import Commands
from tests.integration.test_door import Browser, client, seeded, stranger  # noqa: F401  (fixtures)
from tests.seeded import START, Seeded

GATES = [
    {"name": "clean", "value": -0.002, "limit": -0.005, "passed": True, "sentence": "Clean auroc 0.842 → 0.840."},
    {"name": "robust_auc_s2", "value": 0.7, "limit": 0.61, "passed": True, "sentence": "Robust AUC 0.61 → 0.70."},
]
MISSED = {"name": "robust_auc_s2", "value": 0.5, "limit": 0.61, "passed": False, "sentence": "Robust AUC 0.61 → 0.50."}


@pytest.fixture
def holdfast(database_url: str, tmp_path: Path, engine: Engine, seeded: Seeded) -> Commands:  # noqa: F811
    with transaction(engine) as session:
        create_trace_tables(session, seeded.model, session.scalars(select(FeatureSchema)).one())
        for name, roles in (("ben", ["approver"]), ("omar", ["operator"]), ("vic", ["viewer"])):
            create_user(session, name, roles)
    return Commands(url=database_url, home=tmp_path / "home")


@pytest.fixture
def sha(seeded: Seeded) -> str:  # noqa: F811
    return seeded.proposal.evidence_sha256


def trained(session: Session, number: int, *, missed: bool = False) -> None:
    """What the worker does once the training is approved."""
    proposal, now = session.get_one(Proposal, number), database_now(session)
    model = session.get_one(Model, proposal.model_id)
    candidate = register_version(session, model, manifest=None, state="candidate", by=POLICY, now=now)
    for state in ("training", "trained", "validating"):
        move(session, proposal, ProposalState(state), by=POLICY, now=now)
    values = {"candidate_id": candidate.id, "gates": [GATES[0], MISSED if missed else GATES[1]]}
    if missed:
        move(session, proposal, ProposalState.FAILED, by=POLICY, now=now, last_error="1 gate failed", **values)
        return
    expires = now + timedelta(hours=72)
    move(session, proposal, ProposalState.AWAITING_PROMOTION, by=POLICY, now=now, expires_at=expires, **values)


def test_a_proposal_reads_with_its_evidence_before_anything_that_can_be_done(holdfast: Commands, sha: str):
    assert holdfast.well("proposal", "list").startswith("#1    fraud            awaiting approval    by policy")
    text = holdfast.well("proposal", "show", 1, "--as", "ben")
    assert text.startswith("PROPOSAL #1  fraud v1 → a new version   tier 1   awaiting approval\nRecommend: TRAIN")
    names = [line.split("  ")[0] for line in text.splitlines() if line[0].isupper()]
    assert names[2:] == ["WHY", "IF NOT", "STRESS", "DATA", "COST", "UNDO", f"Evidence sha256 {sha[:8]}…"]
    assert text.endswith("You may approve, ben: you neither asked for it nor voted on it.\n")
    assert max(len(line) for line in text.splitlines()) <= 118
    assert "You may not approve: to approve needs" in holdfast.well("proposal", "show", 1, "--as", "vic")


@pytest.mark.parametrize("missed", [False, True])
def test_gates_that_failed_come_first_and_what_gets_worse_is_said(
    holdfast: Commands, engine: Engine, sha: str, missed: bool
):
    holdfast.well("proposal", "approve", 1, "--evidence", sha[:8], "--as", "ben", "--reason", "harmful")
    with transaction(engine) as session:
        trained(session, 1, missed=missed)
    text = holdfast.well("proposal", "show", 1)
    assert "training approved" in text.splitlines()[0]
    said = "Ended: 1 gate failed" if missed else "Recommend: PROMOTE. All 2 gates passed. Worst risk: Clean auroc"
    assert said in text
    marks = [line.strip()[0] for line in text.splitlines() if line.strip()[0] in "✓✗"]
    assert marks == (["✗", "✓"] if missed else ["✓", "✓"])
    assert f"WORSE    Clean auroc 0.842 → 0.840.{' Robust AUC 0.61 → 0.50.' if missed else ''}" in text
    assert "VOTE     ben approved the training" in text
    assert holdfast("proposal", "follow", 1).code == (1 if missed else 0)


def test_a_shadow_is_told_with_the_share_of_decisions_that_change(holdfast: Commands, engine: Engine, seeded: Seeded):  # noqa: F811
    found = {"sentence": "No worse by more than 0.005.", "decisions": {"rows": 2_000, "changed": 36}}
    with transaction(engine) as session:
        session.add(
            Shadow(
                proposal_id=1, champion_id=seeded.champion.id, candidate_id=seeded.champion.id, state="decided",
                rows=1_900, since=START, until=START + timedelta(days=1), document=found,
            )
        )  # fmt: skip
    told = "SHADOW   decided, 1,900 labelled rows, 1 Mar 2026 to 2 Mar 2026, 1.8% of 2,000 decisions change. No worse"
    assert told in holdfast.well("proposal", "show", 1)


def test_a_vote_is_a_named_persons_on_evidence_that_they_name(
    holdfast: Commands, engine: Engine, sha: str, monkeypatch: pytest.MonkeyPatch
):
    assert "expected --as NAME" in holdfast("proposal", "approve", 1, "--evidence", sha[:8]).err
    assert "a vote is bound to what you have read" in holdfast("proposal", "approve", 1, "--as", "ben").err
    assert "expected at least 6 digits" in holdfast("proposal", "approve", 1, "--as", "ben", "--evidence", sha[:5]).err
    assert "open it again" in holdfast("proposal", "approve", 1, "--as", "ben", "--evidence", "0" * 64).err
    assert "needs one of approver" in holdfast("proposal", "approve", 1, "--as", "vic", "--evidence", sha).err
    assert "no user 'zoe'" in holdfast("proposal", "approve", 1, "--as", "zoe", "--evidence", sha).err
    with transaction(engine) as session:
        assert session.scalars(select(Vote)).all() == []
    monkeypatch.setenv("HOLDFAST_USER", "ben")
    assert "is approved" in holdfast.well("proposal", "approve", 1, "--evidence", f"{sha[:8]}…", "--reason", "harm")
    assert holdfast("proposal", "approve", 1, "--evidence", sha).code == 2
    with transaction(engine) as session:
        vote = session.scalars(select(Vote)).one()
        assert (vote.actor, vote.reason, vote.evidence_sha256) == ("ben", "harm", sha)


def test_on_a_terminal_the_evidence_is_shown_and_the_person_is_asked(
    holdfast: Commands, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    class Terminal:
        def __init__(self, *answers: str) -> None:
            self.answers = list(answers)

        def isatty(self) -> bool:
            return True

        def readline(self, *_: int) -> str:
            return self.answers.pop(0)

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    refused = holdfast("proposal", "approve", 1, "--as", "ben")
    assert (refused.code, "PROPOSAL #1" in refused.err, "Approve this training?" in refused.err) == (1, True, True)
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert "is approved" in holdfast.well("proposal", "approve", 1, "--as", "ben")
    with transaction(engine) as session:
        assert session.get_one(Proposal, 1).state == "queued"


def test_the_whole_way_from_a_request_to_a_rollback(holdfast: Commands, engine: Engine, sha: str):
    assert "has an open proposal #1 already" in holdfast(
        "proposal", "request", "fraud", "--as", "omar", "--reason", "schedule"
    ).err  # fmt: skip
    assert holdfast("proposal", "reject", 1, "--as", "ben", "--evidence", sha).code == 2  # without a reason
    assert "is rejected" in holdfast.well("proposal", "reject", 1, "--as", "ben", "--evidence", sha, "--reason", "no")
    asked = holdfast.well("proposal", "request", "fraud", "--as", "omar", "--reason", "a new fraud ring")
    assert asked.startswith("proposal #2 for fraud awaits approval")
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, 2)
        assert (proposal.requested_by, proposal.reason, proposal.alert_id) == ("omar", "a new fraud ring", None)
        assert proposal.evidence["charts"]["metric"]
        own = proposal.evidence_sha256
    holdfast.well("proposal", "approve", 2, "--as", "ben", "--evidence", own[:8])
    with transaction(engine) as session:
        trained(session, 2)
    assert "promotion is queued" in holdfast.well("proposal", "promote", 2, "--as", "ben", "--evidence", own[:8])
    assert "You may promote, ben." in holdfast.well("proposal", "show", 2, "--as", "ben")
    holdfast.well("proposal", "cancel", 2, "--as", "omar", "--reason", "not \x1b[2Jnow")
    assert "\x1b" not in holdfast.well("audit", "list") + holdfast.well("proposal", "show", 2)
    nothing = holdfast("rollback", "fraud", "--as", "omar", "--reason", "worse")
    assert (nothing.code, "nothing to go back to" in nothing.err) == (2, True)
    assert "expected --reason" in holdfast("rollback", "fraud", "--as", "omar").err
    with transaction(engine) as session:
        acts = [(entry.actor, entry.action) for entry in entries(session, subject="proposal:2")]
    assert ("ben", "proposal.promotion_approved") in acts
    assert acts[-1] == ("omar", "proposal.cancelled")


def test_freezing_is_a_named_persons_act_with_a_reason(holdfast: Commands):
    assert "expected --as" in holdfast("freeze", "fraud", "--reason", "audit").err
    assert "expected --reason" in holdfast("freeze", "fraud", "--as", "omar").err
    assert "is frozen" in holdfast.well("freeze", "fraud", "--as", "omar", "--reason", "audit week")
    assert "is frozen already" in holdfast("freeze", "fraud", "--as", "omar", "--reason", "again").err
    assert "is unfrozen" in holdfast.well("unfreeze", "fraud", "--as", "omar", "--reason", "over")
    assert "needs one of" in holdfast("freeze", "fraud", "--as", "vic", "--reason", "x").err


def test_following_ends_when_the_training_does_and_its_exit_code_says_how(
    holdfast: Commands, engine: Engine, sha: str, monkeypatch: pytest.MonkeyPatch
):
    waiting = holdfast("proposal", "follow", 1)
    assert (waiting.code, "awaits approval" in waiting.out) == (1, True)
    holdfast.well("proposal", "approve", 1, "--as", "ben", "--evidence", sha)
    looks: list[int] = []

    def work(_: float) -> None:
        """The world goes on while the follower sleeps."""
        looks.append(1)
        with transaction(engine) as session:
            if len(looks) == 1:
                job = session.scalars(select(Job)).one()
                curve = [{"epoch": 1, "loss": 0.5, "clean": 0.4, "robust": 0.6}]
                session.add(Progress(job_id=job.id, proposal_id=1, done=3, total=10, sentence="epoch 1", curve=curve))
            if len(looks) == 3:
                trained(session, 1)

    monkeypatch.setattr("monitor.cli.following.time.sleep", work)
    followed = holdfast("proposal", "follow", 1)
    assert (followed.code, len(looks)) == (0, 3)
    assert "is trained and awaits promotion" in followed.out
    assert "no proposal 9" in holdfast("proposal", "follow", 9).err


def test_an_exported_proposal_is_verified_without_a_database(
    holdfast: Commands, engine: Engine, sha: str, tmp_path: Path
):
    holdfast.well("proposal", "approve", 1, "--as", "ben", "--evidence", sha, "--reason", "harmful")
    with transaction(engine) as session:
        trained(session, 1)
    holdfast.well("proposal", "reject", 1, "--as", "ben", "--evidence", sha, "--reason", "gates failed")
    file = tmp_path / "proposal-1.json"
    holdfast.well("proposal", "export", 1, file)
    far = Commands(url="postgresql://nobody@127.0.0.1:1/none", home=tmp_path / "far")
    assert "is intact" in far.well("proposal", "verify", file)
    assert "2 votes bound to it" in far.well("proposal", "verify", file)
    file.write_text(file.read_text().replace("gates failed", "gates passed", 1))
    changed = far("proposal", "verify", file)
    assert changed.code == 2
    assert "was changed" in changed.out or "was altered" in changed.out or "is not in the audit" in changed.out
    assert "cannot be read" in far("proposal", "verify", tmp_path / "none").err
    assert "there is no proposal 9" in holdfast("proposal", "export", 9, file).err


def test_a_decision_does_not_wait_for_torch():
    needed = "monitor.cli.app, monitor.cli.voting, monitor.acts.retraining, monitor.acts.requests, monitor.db.tables"
    ended = subprocess.run([sys.executable, "-c", f"import sys, {needed}; sys.exit('torch' in sys.modules)"])
    assert ended.returncode == 0
