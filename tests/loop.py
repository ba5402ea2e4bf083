"""The governed loop as a machine to explore: three people, every act they can try, and what the platform does then."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import hypothesis.core
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from monitor.acts import retraining as acts
from monitor.acts.proposals import open_proposal
from monitor.acts.registry import register_version
from monitor.acts.retiring import retire_version
from monitor.db.engine import refusal
from monitor.db.registry import Model, Version
from monitor.db.retraining import Proposal, Vote
from monitor.db.users import create_user
from monitor.errors import HoldfastError
from monitor.governance import POLICY, Actor, ProposalState, Role
from tests.governed import NOW, PASSED_GATES, govern, proposed
from tests.oracle import illegal_promotions

OLI = Actor(id="oli", name="oli", roles=frozenset({Role.OPERATOR, Role.APPROVER}))
ADA = Actor(id="ada", name="ada", roles=frozenset({Role.APPROVER, Role.ADMIN}))
VIC = Actor(id="vic", name="vic", roles=frozenset({Role.APPROVER, Role.VALIDATOR}))
PEOPLE = (OLI, ADA, VIC)
_ONWARD = ("requests", "approves", "votes")  # drawn more often, so that walks get somewhere
FAILED_GATES = [{**PASSED_GATES[0], "passed": False}]


@dataclass(frozen=True)
class Step:
    """One person tries one act."""

    actor: Actor
    act: str

    def __str__(self) -> str:
        return f"{self.actor.name} {self.act}"


def begin(session: Session, *, tier: int, solo: bool = False) -> None:
    """The model `fraud` at this tier, with its people."""
    govern(session, tier=tier, solo=solo)
    for person in PEOPLE:
        create_user(session, person.name, sorted(person.roles))


def steps() -> Iterator[Step]:
    """Everything that anybody can try next."""
    yield from (Step(actor, act) for actor in PEOPLE for act in ACTS)


def attempt(session: Session, step: Step) -> bool:
    """Try it as a transaction of its own would, what is checked at COMMIT included; whether it was allowed."""
    try:
        with session.begin_nested():
            ACTS[step.act](session, step.actor)
            session.flush()
            session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
            session.execute(text("SET CONSTRAINTS ALL DEFERRED"))
    except (HoldfastError, LookupError):
        return False
    except DBAPIError as error:
        if refusal(error) is None:
            raise
        return False
    return True


def signature(session: Session) -> tuple[object, ...]:
    """Where the loop stands: of two states with the same one, the same futures are open.

    That is the open proposal with its votes, the way back from the champion, and the newest version, which may come
    again. What was closed matters by what has served alone.
    """
    model = _fraud(session)
    standing = open_proposal(session, model)
    votes = select(Vote.stage, Vote.actor, Vote.decision).where(Vote.proposal_id == (standing.id if standing else 0))
    back, served = [], session.get(Version, model.champion_id)
    while served is not None:
        back.append(served.state)
        served = session.get(Version, served.replaced_id) if served.replaced_id else None
    newest = _newest(session)
    return (
        (standing.state, standing.requested_by) if standing else None,
        tuple(sorted(map(tuple, session.execute(votes)))),
        tuple(back),
        (newest.state, newest.promoted_at is not None, newest.id == model.champion_id),
    )


def _fraud(session: Session) -> Model:
    return session.scalars(select(Model)).one()


def _standing(session: Session) -> Proposal:
    found = open_proposal(session, _fraud(session))
    if found is None:
        raise LookupError("nothing is proposed")
    return found


def _newest(session: Session) -> Version:
    return session.scalars(select(Version).order_by(Version.id.desc()).limit(1)).one()


def _request(session: Session, by: Actor) -> None:
    if open_proposal(session, _fraud(session)) is not None:
        raise LookupError("one is open")
    proposed(session, _fraud(session), by=by)


def _approve(session: Session, by: Actor) -> None:
    """The training follows at once, and its candidate passes."""
    proposal = _standing(session)
    acts.approve(session, proposal, by=by, evidence_sha256=proposal.evidence_sha256, reason="because", now=NOW)
    _train(session, proposal, PASSED_GATES)


def _approve_in_vain(session: Session, by: Actor) -> None:
    """The same, and the candidate fails a gate: nobody is asked to promote it."""
    proposal = _standing(session)
    acts.approve(session, proposal, by=by, evidence_sha256=proposal.evidence_sha256, reason="because", now=NOW)
    _train(session, proposal, FAILED_GATES)


def _train(session: Session, proposal: Proposal, gates: list[dict[str, object]]) -> None:
    candidate = register_version(session, _fraud(session), manifest=None, state="candidate", by=POLICY, now=NOW)
    for state in (ProposalState.TRAINING, ProposalState.TRAINED, ProposalState.VALIDATING):
        acts.move(session, proposal, state, by=POLICY, now=NOW)
    passed = gates is PASSED_GATES
    to = ProposalState.AWAITING_PROMOTION if passed else ProposalState.FAILED
    acts.move(session, proposal, to, by=POLICY, now=NOW, candidate_id=candidate.id, gates=gates)


def _vote(session: Session, by: Actor) -> None:
    """Once the votes suffice the promotion follows at once."""
    proposal = _standing(session)
    sha = proposal.evidence_sha256
    if acts.approve_promotion(session, proposal, by=by, evidence_sha256=sha, reason="because", now=NOW):
        acts.promote(session, proposal, by=by, now=NOW)


def _vote_on_other_evidence(session: Session, by: Actor) -> None:
    proposal = _standing(session)
    decide = acts.approve if proposal.state == "awaiting_approval" else acts.approve_promotion
    decide(session, proposal, by=by, evidence_sha256="f" * 64, reason="because", now=NOW)


def _promote_at_once(session: Session, by: Actor) -> None:
    acts.promote(session, _standing(session), by=by, now=NOW)


def _reject(session: Session, by: Actor) -> None:
    proposal = _standing(session)
    acts.reject(session, proposal, by=by, evidence_sha256=proposal.evidence_sha256, reason="no", now=NOW)


def _cancel(session: Session, by: Actor) -> None:
    acts.cancel(session, _standing(session), by=by, reason="no", now=NOW)


def _roll_back(session: Session, by: Actor) -> None:
    acts.rollback(session, _fraud(session), by=by, reason="worse", now=NOW)


def _promote_again(session: Session, by: Actor) -> None:
    acts.promote_again(session, _newest(session), by=by, approved_by=by, reason="better after all", now=NOW)


def _retire(session: Session, by: Actor) -> None:
    retire_version(session, _newest(session), by=by, reason="never again", now=NOW)


ACTS: dict[str, Callable[[Session, Actor], None]] = {
    "requests": _request,
    "approves": _approve,
    "approves in vain": _approve_in_vain,
    "votes": _vote,
    "votes on other evidence": _vote_on_other_evidence,
    "promotes at once": _promote_at_once,
    "rejects": _reject,
    "cancels": _cancel,
    "rolls back": _roll_back,
    "promotes again": _promote_again,
    "retires": _retire,
}


@dataclass
class Walked:
    """What random walks have met."""

    walks: int = 0
    tried: int = 0
    allowed: int = 0
    promotions: int = 0
    rollbacks: int = 0


def walk_at_random(session: Session, met: Walked, *, walks: int, steps_each: int = 6, seed: int | None = None) -> None:
    """That many random sequences of acts from the state that `begin` left; stops at an illegal promotion.

    Without a seed they are the same ones each time.
    """

    class Loop(RuleBasedStateMachine):
        """Hypothesis draws who tries what; the oracle judges after every act that was allowed."""

        def __init__(self) -> None:
            super().__init__()
            met.walks += 1
            self.before, self.moved = session.begin_nested(), False

        @rule(step=st.sampled_from([*steps()] + [Step(actor, act) for actor in PEOPLE for act in _ONWARD] * 3))
        def go(self, step: Step) -> None:
            met.tried += 1
            self.moved = attempt(session, step)
            met.allowed += self.moved
            met.promotions += self.moved and step.act == "votes" and _fraud(session).champion_id == _newest(session).id
            met.rollbacks += self.moved and step.act == "rolls back"

        @invariant()
        def lawful(self) -> None:
            if self.moved:
                assert illegal_promotions(session.connection()) == []

        def teardown(self) -> None:
            self.before.rollback()
            session.expire_all()

    hypothesis.core.global_force_seed = seed
    try:
        run_state_machine_as_test(
            Loop,
            settings=settings(
                max_examples=walks, stateful_step_count=steps_each, deadline=None, database=None,
                derandomize=seed is None, suppress_health_check=list(HealthCheck), print_blob=False,
            ),
        )  # fmt: skip
    finally:
        hypothesis.core.global_force_seed = None
