"""What a person tried and was refused is on record too, in a transaction after the one that was rolled back."""

from sqlalchemy.orm import Session

from monitor.db.audit import record
from monitor.db.engine import ON_REFUSAL, database_now
from monitor.errors import HoldfastError
from monitor.governance import POLICY, Actor


def attempt(session: Session, act: str, *, by: Actor, subject: str, model: str) -> None:
    """Should `by` be refused to `act` on `subject`, the audit will say so: "ana was refused to approve"."""
    if by == POLICY:
        return

    def put_down(fresh: Session, error: HoldfastError) -> None:
        kind = subject.partition(":")[0]
        record(
            fresh, f"{kind}.refused_to_{act}", by=by.id, subject=subject, at=database_now(fresh), model=model,
            sentence=str(error),
        )  # fmt: skip

    session.info[ON_REFUSAL] = put_down
