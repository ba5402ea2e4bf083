"""A person asks for a retraining, with the evidence of the newest judged window that policy would show too."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts.attempts import attempt
from monitor.acts.proposals import open_proposal
from monitor.acts.retraining import propose
from monitor.acts.tabular import require_tabular
from monitor.db.checks import CheckRun, Finding, WindowVerdict
from monitor.db.read_training import newest_training_rows, newest_verdicts
from monitor.db.registry import Model, Version, champion
from monitor.db.retraining import Proposal
from monitor.errors import BadInput, NotEnoughData, StaleDecision
from monitor.governance import Action, Actor, authorize
from monitor.reports.evidence import SHOWN_CULPRITS, collect
from monitor.windows import Window


def request_retraining(
    session: Session, model: Model, *, by: Actor, reason: str, now: datetime, recipe: str = "hardened"
) -> Proposal:
    """The proposal; whoever asked does not decide on it.

    Raises:
        NotAllowed: `by` may not ask for a retraining.
        BadInput: no reason is given, or the model's rows hold vectors.
        NotEnoughData: no window of the champion has been judged, so there is nothing to show.
        StaleDecision: the model has an open proposal, or takes none.
    """
    attempt(session, "request", by=by, subject=f"model:{model.id}", model=model.name)
    authorize(by, Action.REQUEST_RETRAINING)
    if not reason.strip():
        raise BadInput("expected a reason: it is the first thing that the approver reads")
    require_tabular(session, model)
    standing = open_proposal(session, model)
    if standing is not None:
        raise _taken(model, standing)
    serving = champion(session, model)
    judged = newest_verdicts(session, serving.id, most=1)
    if not judged:
        raise NotEnoughData(
            f"no window of {model.name} {serving.name} has been judged yet: there is no evidence to show"
        )
    last = judged[-1]
    window = Window(last.starts, last.ends)
    snapshot = newest_training_rows(session, model, model.watermark or window.end).to_document()
    evidence = collect(
        session, model, serving, window=window, verdict=last.verdict, sentence=last.sentence,
        culprits=_moved(session, serving, last), snapshot=snapshot,
    )  # fmt: skip
    proposal = propose(
        session, model, evidence=evidence, verdict=last.verdict, reason=reason, alert_id=None, snapshot=snapshot,
        by=by, now=now, recipe=recipe,
    )  # fmt: skip
    if proposal is None:
        raise _taken(model, open_proposal(session, model))
    return proposal


def _taken(model: Model, standing: Proposal | None) -> StaleDecision:
    number = f" #{standing.id}" if standing is not None else ""
    return StaleDecision(f"model {model.name} has an open proposal{number} already: decide on it or cancel it first")


def _moved(session: Session, version: Version, last: WindowVerdict) -> list[str]:
    """The features whose drift check fired on the window, the largest effect first."""
    fired = (
        select(Finding.subject)
        .join(CheckRun, CheckRun.id == Finding.check_run_id)
        .where(
            CheckRun.version_id == version.id, CheckRun.kind == "drift", CheckRun.ends == last.ends, Finding.fired
        )
        .order_by(Finding.effect.desc().nulls_last(), Finding.id)
    )  # fmt: skip
    return list(dict.fromkeys(session.scalars(fired)))[:SHOWN_CULPRITS]
