"""Whether an alert warrants retraining, and the evidence that a person will decide on."""

from datetime import datetime

from sqlalchemy.orm import Session

from monitor.acts.proposals import open_proposal
from monitor.acts.retraining import propose
from monitor.alerts import AlertKind
from monitor.db.alerts import Alert
from monitor.db.read_training import newest_training_rows
from monitor.db.registry import Model, ModelSettings, Version
from monitor.governance import POLICY, should_propose
from monitor.jobs.facts import Known
from monitor.reports.evidence import collect

_KINDS = (AlertKind.PERFORMANCE, AlertKind.ROBUSTNESS)


def propose_if_warranted(
    session: Session, model: Model, version: Version, known: Known, alert: Alert, now: datetime
) -> None:
    """Ask for a retraining if policy may, and the verdict is harmful or fragile."""
    judgement = known.judgement
    if alert.kind not in _KINDS or not ModelSettings.of(model).policy or version.id != model.champion_id:
        return
    already = open_proposal(session, model) is not None
    if not should_propose([judgement.verdict], frozen=model.frozen, open_proposal=already).propose:
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
