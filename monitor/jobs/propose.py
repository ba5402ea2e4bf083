"""Whether an alert warrants retraining, and the evidence that a person will decide on."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts.freezing import is_frozen
from monitor.acts.proposals import move, open_proposal
from monitor.acts.retraining import propose
from monitor.acts.tabular import is_tabular
from monitor.alerts import AlertKind
from monitor.db.alerts import Alert
from monitor.db.read_training import newest_training_rows, newest_verdicts
from monitor.db.registry import Model, ModelSettings, Version, reference_for
from monitor.db.retraining import Proposal
from monitor.governance import POLICY, ProposalState, should_propose
from monitor.jobs.facts import Known
from monitor.performance import HARMFUL, Verdict
from monitor.reports.evidence import collect
from monitor.windows import Window

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
    if not is_tabular(session, model):
        return
    standing = open_proposal(session, model)
    frozen = is_frozen(session, model)
    if standing is not None and _is_outdone(standing, judgement.verdict) and not frozen:
        sentence = f"The verdict is {judgement.verdict.in_words} now: a proposal on newer evidence takes its place."
        move(session, standing, ProposalState.SUPERSEDED, by=POLICY, now=now, sentence=sentence)
        standing = None
    if not should_propose([judgement.verdict], frozen=frozen, open_proposal=standing is not None).propose:
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


def propose_on_schedule(session: Session, model: Model, now: datetime) -> int:
    """Ask for a retraining once the data of the last one are `retrain_every_windows` old; 1 when it was asked for.

    Never on a broken pipeline: it waits for a window that is whole.
    """
    settings = ModelSettings.of(model)
    if settings.retrain_every_windows is None or model.champion_id is None or model.watermark is None:
        return 0
    if is_frozen(session, model) or open_proposal(session, model) is not None or not is_tabular(session, model):
        return 0
    version = session.get_one(Version, model.champion_id)
    learned = _learned_until(session, model, version)
    newest = newest_verdicts(session, version.id, most=1)
    if learned is None or model.watermark < learned + settings.retrain_every_windows * settings.width or not newest:
        return 0
    last = newest[0]
    if last.verdict == Verdict.PIPELINE_BREAK:
        return 0
    sentence = f"Scheduled: {version.name} learned data up to {learned:%-d %b %Y}. The verdict: {last.sentence}"
    snapshot = newest_training_rows(session, model, model.watermark).to_document()
    evidence = collect(
        session, model, version, window=Window(last.starts, last.ends), verdict=last.verdict, sentence=sentence,
        culprits=(), snapshot=snapshot,
    )  # fmt: skip
    asked = propose(
        session, model, evidence=evidence, verdict=last.verdict, reason=sentence, alert_id=None, snapshot=snapshot,
        by=POLICY, now=now,
    )  # fmt: skip
    return int(asked is not None)


def _learned_until(session: Session, model: Model, version: Version) -> datetime | None:
    """Up to when data were last learned or offered to be learned; None while normal is not known either."""
    last = select(Proposal.snapshot).where(Proposal.model_id == model.id).order_by(Proposal.id.desc()).limit(1)
    asked = (session.scalar(last) or {}).get("ends")
    reference = reference_for(session, version)
    known = [reference.ends] if reference is not None else []
    return max([*known, *([datetime.fromisoformat(asked)] if asked else [])], default=None)
