"""What a person decides about a proposal; each is one act of a named account, bound to the evidence they were shown."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.acting import AsOption, open_desk, person
from monitor.cli.platform import HomeOption, say
from monitor.errors import BadInput, NotFound, StaleDecision

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from monitor.db.retraining import Proposal
    from monitor.governance.roles import Actor

_LEAST_DIGITS = 6

NumberArgument = Annotated[int, typer.Argument(help="The proposal's number.")]
ModelArgument = Annotated[str, typer.Argument(help="The model's name.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; others will ask. It is kept in the audit trail.")]
EvidenceOption = Annotated[
    str | None,
    typer.Option("--evidence", help="The first digits of the evidence's hash that `show` prints.", show_default=False),
]


def request(model: ModelArgument, reason: ReasonOption = "", who: AsOption = None, home: HomeOption = None) -> None:
    """Ask for a retraining; somebody else decides on it."""
    from monitor.acts.requests import request_retraining
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    with open_desk(home) as desk, desk.transaction() as session:
        actor, row = person(session, who), model_named(session, model)
        proposal = request_retraining(session, row, by=actor, reason=reason, now=database_now(session))
        print(f"proposal #{proposal.id} for {model} awaits approval: holdfast proposal show {proposal.id}")


def approve(
    number: NumberArgument, reason: ReasonOption = "", evidence: EvidenceOption = None, who: AsOption = None,
    home: HomeOption = None,
) -> None:  # fmt: skip
    """Approve a training. Without --evidence the proposal is shown first, and you are asked."""
    from monitor.acts import retraining as acts
    from monitor.db.engine import database_now

    sha256 = _seen(number, evidence, who, "Approve this training?", home)
    with open_desk(home) as desk, desk.transaction() as session:
        actor, proposal = person(session, who), _proposal(session, number)
        acts.approve(session, proposal, by=actor, evidence_sha256=sha256, reason=reason, now=database_now(session))
    print(f"proposal #{number} is approved: the training is queued; holdfast proposal follow {number}")


def reject(
    number: NumberArgument, reason: ReasonOption = "", evidence: EvidenceOption = None, who: AsOption = None,
    home: HomeOption = None,
) -> None:  # fmt: skip
    """Decide against a training, or against a promotion."""
    from monitor.acts import retraining as acts
    from monitor.db.engine import database_now

    _require(reason)
    sha256 = _seen(number, evidence, who, "Reject this proposal?", home)
    with open_desk(home) as desk, desk.transaction() as session:
        actor, proposal = person(session, who), _proposal(session, number)
        acts.reject(session, proposal, by=actor, evidence_sha256=sha256, reason=reason, now=database_now(session))
    print(f"proposal #{number} is rejected")


def promote(
    number: NumberArgument, reason: ReasonOption = "", evidence: EvidenceOption = None, who: AsOption = None,
    home: HomeOption = None,
) -> None:  # fmt: skip
    """Vote for the candidate; it is promoted once the votes suffice."""
    from monitor.acts import retraining as acts
    from monitor.db.engine import database_now

    sha256 = _seen(number, evidence, who, "Promote this candidate?", home)
    with open_desk(home) as desk, desk.transaction() as session:
        actor, proposal = person(session, who), _proposal(session, number)
        decided = acts.approve_promotion(
            session, proposal, by=actor, evidence_sha256=sha256, reason=reason, now=database_now(session)
        )
    print("the promotion is queued" if decided else "the vote counts; one more person must decide")


def cancel(number: NumberArgument, reason: ReasonOption = "", who: AsOption = None, home: HomeOption = None) -> None:
    """Take a proposal back, or stop its training."""
    from monitor.acts import retraining as acts
    from monitor.db.engine import database_now

    _require(reason)
    with open_desk(home) as desk, desk.transaction() as session:
        actor, proposal = person(session, who), _proposal(session, number)
        acts.cancel(session, proposal, by=actor, reason=reason, now=database_now(session))
    print(f"proposal #{number} is cancelled")


def rollback(model: ModelArgument, reason: ReasonOption = "", who: AsOption = None, home: HomeOption = None) -> None:
    """Make the version that the champion took over from the champion again: one act, without any vote."""
    from monitor.acts import retraining as acts
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    _require(reason)
    with open_desk(home) as desk, desk.transaction() as session:
        actor, row = person(session, who), model_named(session, model)
        previous = acts.rollback(session, row, by=actor, reason=reason, now=database_now(session))
        print(f"{previous.name} is the champion of {model} again")


def shown(session: "Session", number: int, reader: "Actor | None") -> Iterator[str]:
    """The proposal as it reads."""
    from monitor.cli.proposal_text import proposal_lines
    from monitor.db.read_retraining import proposal_page
    from monitor.db.retraining import Shadow

    page = proposal_page(session, number)
    if page is None:
        raise NotFound(f"there is no proposal {number}: `holdfast proposal list` shows those there are")
    yield from proposal_lines(page, shadow=session.get(Shadow, number), reader=reader)


def _seen(number: int, evidence: str | None, who: str | None, question: str, home: Path | None) -> str:
    """The hash of the evidence that the person names, or is shown now and agrees to.

    Raises:
        BadInput: nobody is there to be asked, or the digits are too few.
        StaleDecision: the digits are those of other evidence.
    """
    with open_desk(home) as desk, desk.transaction() as session:
        actor, sha256 = person(session, who), _proposal(session, number).evidence_sha256
        lines = list(shown(session, number, actor))
    if evidence is None:
        if not sys.stdin.isatty():
            raise BadInput(
                f"expected --evidence with the first digits of the hash that `holdfast proposal show {number}` prints: "
                "a vote is bound to what you have read"
            )
        say("\n".join(lines))
        if not typer.confirm(question, err=True):
            raise typer.Exit(1)
        return sha256
    digits = evidence.strip().rstrip("…").lower()
    if len(digits) < _LEAST_DIGITS:
        raise BadInput(f"expected at least {_LEAST_DIGITS} digits of the evidence's hash, got {evidence!r}")
    if not sha256.startswith(digits):
        raise StaleDecision(f"the evidence of proposal {number} is {sha256[:12]}…, not {digits}…: open it again")
    return sha256


def _require(reason: str) -> None:
    if not reason.strip():
        raise BadInput("expected --reason: others will ask why")


def _proposal(session: "Session", number: int) -> "Proposal":
    from monitor.db.retraining import Proposal

    proposal = session.get(Proposal, number) if 0 < number < 2**63 else None
    if proposal is None:
        raise NotFound(f"there is no proposal {number}: `holdfast proposal list` shows those there are")
    return proposal
