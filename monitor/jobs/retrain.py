"""An approved retraining: candidates in a child process, gates on rows that nobody trained on, one effect at the end.

A worker may die at any line: the store keeps files by their hash, rows are written in the last transaction alone, and
the next worker begins again from the snapshot.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sqlalchemy.dialects.postgresql import insert

from monitor.acts.retraining import move
from monitor.acts.trainers import CommandTrainer, WebhookTrainer, trainer_of
from monitor.artifacts import Manifest, check_files
from monitor.artifacts.attach import attach_file
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import MOST_ATTEMPTS, Claimed, cancelled
from monitor.db.read_training import last_noise_report
from monitor.db.retraining import Progress as ProgressRow
from monitor.db.retraining import Proposal
from monitor.errors import BadInput, JobFailed, NotFound
from monitor.governance import CLOSED, POLICY, ProposalState
from monitor.jobs import command_child, compare_child, train_child
from monitor.jobs.child import LIMIT_SECONDS, Progress, run_in_child
from monitor.jobs.compare_child import Measurements
from monitor.jobs.context import Tools, effect
from monitor.jobs.gating import rule
from monitor.jobs.material import Material, read_material
from monitor.jobs.outside import Answer, answer_of, forget_rows
from monitor.jobs.outside_files import check_allowed, given_of, read_made, rows_bytes
from monitor.jobs.retrain_end import finish
from monitor.jobs.train_child import Candidate
from monitor.training import FACTORIES, family_weights

_GRACE_SECONDS = 60.0  # for a command to be ended by its own limit first, which tells what it said
_WORKING = (ProposalState.QUEUED, ProposalState.TRAINING, ProposalState.TRAINED, ProposalState.VALIDATING)


@dataclass(frozen=True, kw_only=True)
class _Child:
    """Runs heavy work for a job: its progress is told, and it ends when somebody cancels the job."""

    tools: Tools
    job: Claimed
    tell: Callable[[Progress], None]

    def run(self, work: str, folder: Path, *, limit_seconds: float = LIMIT_SECONDS) -> None:
        run_in_child(
            work, folder, tools=self.tools, on_progress=self.tell, should_stop=self._is_cancelled,
            limit_seconds=limit_seconds,
        )  # fmt: skip

    def _is_cancelled(self) -> bool:
        with transaction(self.tools.engine) as session:
            return cancelled(session, self.job)


def run(tools: Tools, job: Claimed) -> None:
    """Train, compare and decide whether people are asked to promote; an unusable snapshot ends the proposal."""
    material = _begin(tools, job)
    if material is None:
        return
    child = _Child(tools=tools, job=job, tell=_teller(tools, job, material.proposal.id))
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-training-") as name:
            made = _made(child, material, Path(name))
            if made is None:
                return  # a service was asked; its answer goes on with it
            material, manifests = made.material, made.manifests
            _advance(tools, job, material, ProposalState.TRAINED, ProposalState.VALIDATING)
            found = _compare(child, material, manifests, Path(name))
            rulings = [rule(material, recipe, found.get("champion"), found[recipe]) for recipe in manifests]
    except (BadInput, NotFound) as error:  # the same data would say the same again
        _end(tools, job, material.proposal.id, str(error))
        return
    except JobFailed as error:
        if job.attempts < MOST_ATTEMPTS:
            raise
        _end(tools, job, material.proposal.id, str(error))
        return
    chosen = next((ruling for ruling in rulings if ruling.passed), rulings[0])
    forget_rows(tools, material.proposal.id)
    finish(tools, job, material, chosen, manifests[chosen.recipe], found, seed=_seed(material))


def _begin(tools: Tools, job: Claimed) -> Material | None:
    """Say that the training runs and read what it needs; None when the proposal was closed in the meantime."""
    proposal_id, material = job.payload["proposal_id"], None
    try:
        with transaction(tools.engine) as session:
            proposal = session.get_one(Proposal, proposal_id, with_for_update={"key_share": True})
            if proposal.state in _WORKING:
                material = read_material(session, proposal)
            if material is not None and proposal.state == ProposalState.QUEUED:
                now, snapshot = database_now(session), material.snapshot.to_document()
                move(session, proposal, ProposalState.TRAINING, by=POLICY, now=now, snapshot=snapshot)
            session.flush()
            session.expunge_all()
    except BadInput as error:
        _end(tools, job, proposal_id, str(error))
        return None
    if material is None:
        forget_rows(tools, proposal_id)
        with effect(tools, job, point="train"):
            return None
    return material


def _made(child: _Child, material: Material, folder: Path) -> Answer | None:
    """The candidates, whoever trains them; None when the job is over because somebody else does."""
    trainer = trainer_of(material.settings.trainer)
    inputs = _inputs(child.tools, material)
    match trainer:
        case CommandTrainer():
            check_allowed(trainer, child.tools)
            workshop = command_child.write_work(folder, trainer.argv, trainer.seconds)
            (workshop / "rows.parquet").write_bytes(rows_bytes(material, material.cut))
            given = json.dumps(given_of(material, material.cut) | {"seed": _seed(material)})
            (workshop / "given.json").write_text(given, encoding="utf-8")
            child.run(command_child.WORK, folder, limit_seconds=trainer.seconds + _GRACE_SECONDS)
            return Answer(material=material, manifests=read_made(workshop, material, child.tools, inputs))
        case WebhookTrainer():
            return answer_of(child.tools, child.job, material, trainer, folder, inputs)
        case _:
            return Answer(material=material, manifests=_train(child, material, folder))


def _train(child: _Child, material: Material, folder: Path) -> dict[str, Manifest]:
    """The candidates by recipe, the one to prefer first, their weights in the store; the champion is not among them."""
    rows = material.schema.encode(material.frame.iloc[: material.cut])
    order = train_child.Order(
        task=material.task, recipe=material.proposal.recipe, seed=_seed(material),
        inputs=_inputs(child.tools, material), **_learned(child.tools, material),
    )  # fmt: skip
    train_child.write_work(folder, rows, material.y[: material.cut], schema=material.schema, order=order)
    child.run(train_child.WORK, folder)
    candidates = train_child.read_candidates(folder)
    return {candidate.recipe: _kept(child.tools, material, candidate) for candidate in candidates}


def _learned(tools: Tools, material: Material) -> dict[str, Any]:
    """What the champion hands on: its network, the noise that hurt it, the features that it may lean on."""
    champion = material.champion
    manifest: Mapping[str, Any] = champion.manifest if champion.flavour == "torch" else {}
    allowed = {*material.settings.allow_leaks, *(manifest.get("provenance") or {}).get("allow_leaks", ())}
    network: dict[str, Any] = {}
    if manifest.get("factory") in {*FACTORIES, *tools.factories}:
        network = {**manifest["settings"], "factory": manifest["factory"]}
    network |= material.settings.network
    with transaction(tools.engine) as session:
        report = last_noise_report(session, champion, before=material.proposal.created_at)
    return {
        "network": network,
        "factories": tuple(sorted(tools.factories)),
        "families": family_weights(report) if report else None,
        "allow_leaks": tuple(sorted(allowed & set(material.schema.names))),
    }


def _kept(tools: Tools, material: Material, candidate: Candidate) -> Manifest:
    return attach_file(
        candidate.weights, tools.store, schema=material.schema, task=material.task, factory=candidate.factory,
        settings=candidate.settings, provenance=candidate.provenance, classes=material.labels.classes,
    )  # fmt: skip


def _compare(
    child: _Child, material: Material, manifests: Mapping[str, Manifest], folder: Path
) -> dict[str, Measurements]:
    compared = dict(manifests)
    if material.champion.flavour != "none":
        compared = {"champion": Manifest.from_document(material.champion.manifest), **compared}
    for name, manifest in compared.items():
        check_files(
            manifest, child.tools.store, version=f"the {name}" if name == "champion" else f"the {name} candidate"
        )
    compare_child.write_work(
        folder, material.frame, material.y, held=material.held, manifests=compared,
        declared=material.schema, store=child.tools.store,
        factories=sorted(child.tools.factories), level=material.settings.stress_level, task=material.model.task,
        seed=_seed(material),
    )  # fmt: skip
    child.run(compare_child.WORK, folder)
    return compare_child.read_measurements(folder, list(compared))


def _advance(tools: Tools, job: Claimed, material: Material, *states: ProposalState) -> None:
    """Show people where it stands; a worker that begins again finds the later state and leaves it."""
    with effect(tools, job, last=False, point="train_step") as session:
        proposal = session.get_one(Proposal, material.proposal.id)
        if proposal.state == ProposalState.TRAINING:
            for state in states:
                move(session, proposal, state, by=POLICY, now=database_now(session))


def _end(tools: Tools, job: Claimed, proposal_id: int, sentence: str) -> None:
    forget_rows(tools, proposal_id)
    with effect(tools, job, point="train") as session:
        proposal = session.get_one(Proposal, proposal_id)
        if proposal.state not in CLOSED:
            now = database_now(session)
            move(session, proposal, ProposalState.FAILED, by=POLICY, now=now, sentence=sentence, last_error=sentence)


def _teller(tools: Tools, job: Claimed, proposal_id: int) -> Callable[[Progress], None]:
    """Writes each report of the child as the job's row of progress, in a transaction of its own."""
    curve: list[dict[str, Any]] = []

    def tell(progress: Progress) -> None:
        if "epoch" in progress:
            curve.append({name: progress[name] for name in ("epoch", "loss", "clean", "robust")})
        values = {
            "proposal_id": proposal_id,
            "done": int(progress["done"]),
            "total": int(progress["total"]),
            "sentence": str(progress["sentence"]),
            "curve": curve,
        }
        with transaction(tools.engine) as session:
            written = insert(ProgressRow).values(job_id=job.id, updated_at=database_now(session), **values)
            session.execute(
                written.on_conflict_do_update(
                    index_elements=["job_id"], set_={**values, "updated_at": written.excluded.updated_at}
                )
            )

    return tell


def _seed(material: Material) -> int:
    """From the model and the version it had: a repeated training gives the same weights."""
    return material.model.id * 1_000 + material.champion.number


def _inputs(tools: Tools, material: Material) -> dict[str, str]:
    """What else the provenance names."""
    return {
        "snapshot_sha256": material.snapshot.ids_sha256,
        "code_version": tools.code_version,
        "packages_sha256": packages_sha256(),
        "hardware": tools.hardware,
        "champion": material.champion.name,
    }


def packages_sha256() -> str:
    """Hash of every installed distribution and its version: the lock file as it really is."""
    found = sorted({f"{one.name}=={one.version}" for one in metadata.distributions()})
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()
