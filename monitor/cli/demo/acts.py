"""The people of the demo, and what they do when nobody is there to click: the same acts, by the same functions."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts import promotion, retraining
from monitor.acts.users import create_person
from monitor.cli.actor import COMMAND_LINE
from monitor.cli.demo.service import MODEL
from monitor.db.engine import database_now, transaction
from monitor.db.registry import Version, champion, model_named
from monitor.db.retraining import CLOSED_STATES, Proposal, Vote
from monitor.governance.roles import Actor, Role

if TYPE_CHECKING:
    from monitor.cli.demo.run import Demo

APPROVER = Actor(id="ana", name="ana", roles=frozenset({Role.APPROVER}))
OPERATOR = Actor(id="omar", name="omar", roles=frozenset({Role.OPERATOR}))
TRAINING_SECONDS = 200.0


def create_people(session: Session) -> None:
    """Ana approves, Omar operates."""
    for person in (APPROVER, OPERATOR):
        roles, now = sorted(person.roles), database_now(session)
        create_person(session, name=person.name, roles=roles, by=COMMAND_LINE, now=now)


def decide_as_people(demo: "Demo") -> None:
    """Approve, train, gate, promote, see serving confirmed, roll back, promote again."""
    number = _open_proposal(demo)
    if number is None:
        demo.say("  no proposal is open: nothing to approve")
        return
    with transaction(demo.tools.engine) as session:
        proposal = session.get_one(Proposal, number)
        retraining.approve(
            session,
            proposal,
            by=APPROVER,
            evidence_sha256=proposal.evidence_sha256,
            reason="harmful and not a broken pipeline: harden it on recent payments",
            now=database_now(session),
        )
    demo.approved_by = APPROVER.name
    demo.tell()
    if _await_candidate(demo, number) != "awaiting_promotion":
        demo.tell()
        return
    _promote(demo, number)
    stream_days(demo, 3)
    _roll_back(demo)
    stream_days(demo, 1)
    _promote_again(demo, number)
    stream_days(demo, 2)


def _open_proposal(demo: "Demo") -> int | None:
    with transaction(demo.tools.engine) as session:
        return session.scalar(select(Proposal.id).where(Proposal.state == "awaiting_approval").order_by(Proposal.id))


def _await_candidate(demo: "Demo", number: int) -> str:
    """Wait until training and gates are through; the state then."""

    def state() -> str:
        with transaction(demo.tools.engine) as session:
            return session.get_one(Proposal, number).state

    def settled() -> bool:
        demo.tell()
        return state() in {"awaiting_promotion", *CLOSED_STATES}

    demo.wait(settled, "the candidate to be trained and gated", seconds=TRAINING_SECONDS)
    return state()


def _promote(demo: "Demo", number: int) -> None:
    with transaction(demo.tools.engine) as session:
        proposal = session.get_one(Proposal, number)
        promotion.approve_promotion(
            session,
            proposal,
            by=APPROVER,
            evidence_sha256=proposal.evidence_sha256,
            reason="every gate is met",
            now=database_now(session),
        )
    before = serving_version(demo)
    demo.wait(lambda: champion_name(demo) != before, "the promotion")
    demo.promoted = True
    demo.say(f"  {champion_name(demo)} promoted; serving still reports {before}")


def _roll_back(demo: "Demo") -> None:
    with transaction(demo.tools.engine) as session:
        promotion.rollback(
            session,
            model_named(session, MODEL),
            by=OPERATOR,
            reason="to show that the way back is one act",
            now=database_now(session),
        )
    demo.rolled_back = True
    demo.say(f"  rolled back to {champion_name(demo)}")


def _promote_again(demo: "Demo", number: int) -> None:
    with transaction(demo.tools.engine) as session:
        candidate = session.get_one(Version, session.get_one(Proposal, number).candidate_id)
        promotion.promote_again(
            session,
            candidate,
            by=OPERATOR,
            approved_by=APPROVER,
            reason="the gates still hold",
            now=database_now(session),
        )
        name = candidate.name
    demo.promoted = champion_name(demo) == name
    demo.say(f"  {name} promoted again, without training")


def stream_days(demo: "Demo", days: int) -> None:
    """The world goes on; the service asks the registry what to serve with."""
    before = serving_version(demo)
    for _ in range(days):
        demo.serve(demo.day + 1)
    demo.wait_idle()
    demo.tell()
    now = serving_version(demo)
    if now != before:
        demo.say(f"  serving confirms {now}")


def champion_name(demo: "Demo") -> str:
    with transaction(demo.tools.engine) as session:
        return champion(session, model_named(session, MODEL)).name


def serving_version(demo: "Demo") -> str:
    """The version that the traces report last."""
    return demo.service.serving or champion_name(demo)


def outcome(demo: "Demo") -> dict[str, Any]:
    """What the person at the dashboard decided."""
    with transaction(demo.tools.engine) as session:
        approved_by = session.scalar(select(Vote.actor).where(Vote.decision == "approve").order_by(Vote.id.desc()))
        promoted = session.scalar(select(Version.id).where(Version.number > 1, Version.promoted_at.is_not(None)))
        serves_first = champion(session, model_named(session, MODEL)).number == 1
    return {
        "approved_by": approved_by,
        "promoted": promoted is not None,
        "rolled_back": promoted is not None and serves_first,
    }
