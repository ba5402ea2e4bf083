"""Whether an alert warrants retraining, and the evidence that a person will decide on."""

from datetime import datetime

from sqlalchemy.orm import Session

from monitor.acts.proposals import move, open_proposal
from monitor.acts.retraining import propose
from monitor.alerts import AlertKind
from monitor.db.alerts import Alert
from monitor.db.read_training import newest_training_rows
from monitor.db.registry import Model, ModelSettings, Version
from monitor.db.retraining import Proposal
from monitor.governance import POLICY, ProposalState, should_propose
from monitor.jobs.facts import Known
from monitor.performance import HARMFUL, Verdict
from monitor.reports.evidence import collect

_KINDS = (AlertKind.PERFORMANCE, AlertKind.ROBUSTNESS)


def _is_outdone(standing: Proposal, verdict: Verdict) -> bool:
    """Whether nobody has decided on the standing proposal yet, and what is known now weighs more than its evidence."""
    undecided = standing.state == ProposalState.AWAITING_APPROVAL and standing.requested_by == POLICY.id
    return undecided and standing.verdict == Verdict.FRAGILE and verdict in HARMFUL


def propose_if_warranted(
    session: Session, model: Model, version: Version, known: Known, alert: Alert, now: datetime
) -> None:
    """Ask for a retraining if policy may, and the verdict is harmful or fragile."""
    judgement = known.judgement
    if alert.kind not in _KINDS or not ModelSettings.of(model).policy or version.id != model.champion_id:
        return
    standing = open_proposal(session, model)
    if standing is not None and _is_outdone(standing, judgement.verdict) and not model.frozen:
        sentence = f"The verdict is {judgement.verdict.in_words} now: a proposal on newer evidence takes its place."
        move(session, standing, ProposalState.SUPERSEDED, by=POLICY, now=now, sentence=sentence)
        standing = None
    if not should_propose([judgement.verdict], frozen=model.frozen, open_proposal=standing is not None).propose:
        return
    snapshot = newest_training_rows(session, model, model.watermark or known.window.end).to_document()
    culprits = list(dict.fromkeys([*known.facts.moved, *([known.evading] if known.evading else [])]))
    evidence = collect(
        session, model, version, window=known.window, verdict=judgement.verdict, sentence=judgement.sentence,
        culprits=culprits, snapshot=snapshot,
    )  # fmt: skip
    propose(
        session, model, evidence=evidence, verdict=judgement.verdict, reason=judgement.sentence, alert_id=alert.id,
        snapshot=snapshot, by=POLICY, now=now,
    )  # fmt: skip
