"""A decided promotion: the candidate becomes the champion, with what is normal for it, in one transaction."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from monitor.acts.baselines import accept_reference
from monitor.acts.promotion import promote
from monitor.acts.proposals import move
from monitor.acts.shadow import shadow_verdict
from monitor.artifacts import Flavour, Manifest, check_files
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Claimed
from monitor.db.profiles import read_profile
from monitor.db.read_training import broken_windows
from monitor.db.registry import Model, ModelSettings, Version, newest_reference, reference_for, versions
from monitor.db.retraining import Proposal
from monitor.drift import Reference, predictions_of
from monitor.drift.bins import Binning
from monitor.drift.profile import Profile
from monitor.errors import NotAllowed, UnsafeArtefact
from monitor.governance import POLICY, Actor, ProposalState
from monitor.jobs.context import Tools, effect
from monitor.windows import Window, floor_to_grid, grid

REFERENCE_WINDOWS = 28  # the newest ones: what the candidate was trained on and will see


def run(tools: Tools, job: Claimed) -> None:
    """Promote, unless somebody closed the proposal or promoted it in the meantime.

    What is promoted is what was compared: an artefact that is missing or was altered since ends the proposal instead,
    and so does a shadow that found the candidate worse after people had voted.
    """
    with transaction(tools.engine) as session:
        proposal = session.get_one(Proposal, job.payload["proposal_id"])
        reference = _reference(session, session.get_one(Model, proposal.model_id))
        compared = _compared(session, proposal)
    try:
        for name, manifest in compared.items():
            check_files(manifest, tools.store, version=name)
        with transaction(tools.engine) as session:
            shadow_verdict(session, session.get_one(Proposal, job.payload["proposal_id"]))
    except (UnsafeArtefact, NotAllowed) as error:
        _refuse(tools, job, f"It was not promoted: {error}")
        return
    with effect(tools, job, point="promote") as session:
        proposal = session.get_one(Proposal, job.payload["proposal_id"], with_for_update={"key_share": True})
        if proposal.state != ProposalState.AWAITING_PROMOTION or proposal.candidate_id is None:
            return
        now = database_now(session)
        promote(session, proposal, by=Actor(id=job.payload["by"], name=job.payload["by"]), now=now)
        candidate = session.get_one(Version, proposal.candidate_id)
        if reference is not None and reference_for(session, candidate) is None:
            model = session.get_one(Model, proposal.model_id)
            accept_reference(session, model, candidate, reference, by=POLICY, now=now)


def _compared(session: Session, proposal: Proposal) -> dict[str, Manifest]:
    """The manifests of champion and candidate, of those that have an artefact, by the version's name."""
    ids = [proposal.champion_id, *([proposal.candidate_id] if proposal.candidate_id is not None else [])]
    found = [session.get_one(Version, version_id) for version_id in ids]
    return {one.name: Manifest.from_document(one.manifest) for one in found if one.flavour != Flavour.NONE}


def _refuse(tools: Tools, job: Claimed, sentence: str) -> None:
    """End the proposal; the champion goes on serving, and people are told why."""
    with effect(tools, job, point="promote") as session:
        proposal = session.get_one(Proposal, job.payload["proposal_id"], with_for_update={"key_share": True})
        if proposal.state == ProposalState.AWAITING_PROMOTION:
            now = database_now(session)
            move(session, proposal, ProposalState.FAILED, by=POLICY, now=now, sentence=sentence, last_error=sentence)


def _reference(session: Session, model: Model) -> Reference | None:
    """The newest whole windows over the bins in use, broken ones left out; None while they are too few to be normal.

    Then the version learns what is normal from its own first windows.
    """
    known = newest_reference(session, model)
    if known is None or model.watermark is None:
        return None
    binning = Reference.from_document(known.document).binning
    windows = _recent(model, model.watermark)
    broken = set(broken_windows(session, model, Window(windows[0].start, windows[-1].end)))
    counted = [(window, _profile(session, model, binning, window)) for window in windows if window not in broken]
    entries = [(window, profile) for window, profile in counted if profile is not None]
    found = Reference.from_profiles(entries, schema=binning.schema, binning=binning)
    return found if found.is_sufficient else None


def _recent(model: Model, watermark: datetime) -> list[Window]:
    width = timedelta(seconds=ModelSettings.of(model).window_seconds)
    end = floor_to_grid(watermark, width)
    return list(grid(end - REFERENCE_WINDOWS * width, end, width))


def _profile(session: Session, model: Model, binning: Binning, window: Window) -> Profile | None:
    """The counts of every version in the window: traffic is what it is, whoever scored it; the scores are left out."""
    found = (
        read_profile(session, model_id=model.id, version_id=version.id, binning=binning, window=window)
        for version in versions(session, model)
    )
    counted = [profile for profile in found if profile is not None]
    if not counted:
        return None
    return sum(counted[1:], start=counted[0]).without(predictions_of(binning.schema))
