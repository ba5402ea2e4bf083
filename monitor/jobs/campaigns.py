"""Campaigns outside the tick: those that people order, and the long ones of the night.

What such a campaign works on and what its attacks have found lies in a folder of the job. A worker may die at any line:
the next one takes the same rows, and loses the attack that was running and no other.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from monitor.acts.stress import COMMAND, Order
from monitor.artifacts import Manifest
from monitor.db.checks import Campaign
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import MOST_ATTEMPTS, Claimed, cancelled
from monitor.db.registry import Version
from monitor.db.retraining import Progress as ProgressRow
from monitor.errors import BadInput, JobCancelled, JobFailed, JobReleased
from monitor.jobs.child import Progress, run_in_child
from monitor.jobs.context import Tools, effect
from monitor.jobs.stream import Subject, subject_of
from monitor.jobs.stress_child import WORK, Found, packed, plan_of, read_found, unpacked, write_work
from monitor.jobs.stress_rows import On, Origin, StressRows, rows_to_stress
from monitor.robustness.mcnemar import mcnemar

FOLDER = "campaigns"  # under the home
_LIMIT_SECONDS = 6 * 3_600.0
_KEPT_SECONDS = 7 * 86_400.0  # of a folder that nobody came back to
log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is stored with a campaign, known before it runs."""

    subject: Subject
    order: Order
    origin: Origin

    @property
    def declared_sha256(self) -> str:
        """Of what may change in rows, as the model's owner declares it now."""
        text = json.dumps(self.subject.schema.to_document(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_document(self) -> dict[str, Any]:
        """What the folder of a campaign remembers of it."""
        made_for = {
            "order": self.order.to_payload(),
            "manifest_sha256": self.subject.version.manifest_sha256,
            "declared_sha256": self.declared_sha256,
        }
        return {"made_for": made_for, "origin": self.origin.to_document()}


def run(tools: Tools, job: Claimed) -> None:
    """Run one campaign; where the rows do not suffice it ends with a sentence."""
    folder = _folder(tools, job)
    try:
        facts = _begin(tools, Order.of(job.payload), folder)
        if facts is None:
            _end(tools, job, folder, "nothing changed since the last campaign: it would find the same")
            return
        run_in_child(
            WORK, folder, tools=tools, on_progress=lambda progress: _tell(tools, job, progress),
            should_stop=_stopper(tools, job), limit_seconds=_LIMIT_SECONDS,
        )  # fmt: skip
    except BadInput as error:  # the same rows would say the same again
        _end(tools, job, folder, str(error))
        return
    except JobCancelled:
        if tools.stopping():
            raise JobReleased("the worker stops; the campaign goes on where it is") from None
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except JobFailed:
        if job.attempts >= MOST_ATTEMPTS:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    with effect(tools, job, point="campaign") as session:
        store_campaign(session, tools, facts, read_found(folder))
    shutil.rmtree(folder, ignore_errors=True)


def _begin(tools: Tools, order: Order, folder: Path) -> Facts | None:
    """What the folder was made for, or a new one; None where it would only find again what is known."""
    with transaction(tools.engine) as session:
        subject = subject_of(session, tools, order.version_id)
        begun = _begun(folder, subject, order)
        if begun is not None:
            return begun
        facts, rows = read_rows(session, tools, order)
        if order.purpose != COMMAND and _is_known(session, tools, facts):
            return None
        shutil.rmtree(folder, ignore_errors=True)
        write_campaign(session, tools, facts, rows, folder, bank=True)
    return facts


def _begun(folder: Path, subject: Subject, order: Order) -> Facts | None:
    """What an earlier worker began with, if the folder is whole and of this very order."""
    if not (folder / "given.json").exists():
        return None
    document = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    facts = Facts(subject=subject, order=order, origin=Origin.from_document(document["origin"]))
    return facts if facts.to_document() == document else None


def read_rows(session: Session, tools: Tools, order: Order, *, most: int | None = None) -> tuple[Facts, StressRows]:
    """The version of an order, and at most `most` rows (else as many as the plan takes) to stress it on.

    Raises:
        NotEnoughData: too few rows have labels, or all are of one class.
    """
    subject = subject_of(session, tools, order.version_id)
    manifest = Manifest.from_document(subject.version.manifest)
    rows = rows_to_stress(
        session, subject, manifest.schema_of_features, on=On(order.on) if order.on else None,
        most=most or plan_of(order.plan).rows,
    )  # fmt: skip
    return Facts(subject=subject, order=order, origin=rows.origin), rows


def write_campaign(
    session: Session, tools: Tools, facts: Facts, rows: StressRows, folder: Path, *, level: str | None = None,
    bank: bool = False,
) -> None:  # fmt: skip
    """What the child reads; with `level` that level alone is attacked."""
    version = facts.subject.version
    before = session.get(Version, version.replaced_id) if version.replaced_id is not None else None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "facts.json").write_text(json.dumps(facts.to_document()), encoding="utf-8")
    write_work(
        folder, rows.rows, rows.y, rows.reference, manifest=Manifest.from_document(version.manifest),
        declared=facts.subject.schema, store=tools.store, factories=tools.factories, baseline=version.baseline,
        level=level or facts.subject.settings.stress_level, seed=rows.origin.seed, plan=facts.order.plan,
        levels=[level] if level else None,
        previous=before.manifest if before is not None and before.flavour != "none" else None, bank=bank,
    )  # fmt: skip


def _is_known(session: Session, tools: Tools, facts: Facts) -> bool:
    """Whether the last campaign of this purpose attacked the same version on the same rows in the same way."""
    last = _last_on(session, facts)
    return (
        last is not None
        and last.version_id == facts.subject.version.id
        and last.plan == facts.order.plan
        and last.report.get("code_version") == tools.code_version
        and last.report.get("declared_sha256") == facts.declared_sha256
    )


def store_campaign(session: Session, tools: Tools, facts: Facts, found: Found) -> Campaign:
    """Write the campaign, with how it compares with the last one of its purpose on the same rows."""
    origin, subject = facts.origin, facts.subject
    document: dict[str, Any] = found.report | {
        "on": str(origin.on),
        "note": origin.note,
        "rows_sha256": origin.ids_sha256,
        "code_version": tools.code_version,
        "declared_sha256": facts.declared_sha256,
        "headline": found.headline.to_document(),
        "lost": packed(found.lost),
        "paired": _paired(session, facts, found),
    }
    campaign = Campaign(
        model_id=subject.model.id, version_id=subject.version.id, purpose=facts.order.purpose, plan=facts.order.plan,
        starts=origin.window.start, ends=origin.window.end, seed=origin.seed, report=document,
    )  # fmt: skip
    session.add(campaign)
    session.flush()
    return campaign


def _paired(session: Session, facts: Facts, found: Found) -> dict[str, Any] | None:
    """McNemar's test against the last campaign of this purpose, where it attacked the same rows in the same way."""
    last = _last_on(session, facts)
    if last is None or last.report["headline"]["level"] != found.headline.level:
        return None
    if last.report.get("declared_sha256") != facts.declared_sha256:
        return None
    before: NDArray[np.bool_] = unpacked(last.report["lost"])
    if len(before) != len(found.lost):
        return None
    compared = mcnemar(before, found.lost)
    version = session.get_one(Version, last.version_id)
    return compared.to_document() | {"campaign_id": last.id, "version": version.name, "level": found.headline.level}


def _last_on(session: Session, facts: Facts) -> Campaign | None:
    """The newest campaign of this purpose on the same rows, whichever version it attacked."""
    chosen = select(Campaign).where(
        Campaign.model_id == facts.subject.model.id, Campaign.purpose == facts.order.purpose,
        Campaign.report["rows_sha256"].as_string() == facts.origin.ids_sha256,
    )  # fmt: skip
    return session.scalar(chosen.order_by(Campaign.id.desc()).limit(1))


def _folder(tools: Tools, job: Claimed) -> Path:
    """The job's folder; those that nobody came back to for a week are swept away."""
    root = tools.home / FOLDER
    for old in root.glob("job-*"):
        if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    return root / f"job-{job.id}"


def _end(tools: Tools, job: Claimed, folder: Path, sentence: str) -> None:
    """The job is done without a campaign; the sentence is its last progress."""
    log.info("no campaign", job=job.id, why=sentence)
    _tell(tools, job, {"done": 0, "total": 0, "sentence": sentence})
    with effect(tools, job, point="campaign"):
        pass
    shutil.rmtree(folder, ignore_errors=True)


def _stopper(tools: Tools, job: Claimed) -> Callable[[], bool]:
    def should_stop() -> bool:
        if tools.stopping():
            return True
        with transaction(tools.engine) as session:
            return cancelled(session, job)

    return should_stop


def _tell(tools: Tools, job: Claimed, progress: Progress) -> None:
    """The job's row of progress, in a transaction of its own."""
    values = {
        "done": int(progress["done"]),
        "total": int(progress["total"]),
        "sentence": str(progress["sentence"]),
    }
    with transaction(tools.engine) as session:
        written = insert(ProgressRow).values(job_id=job.id, updated_at=database_now(session), **values)
        changed = {**values, "updated_at": written.excluded.updated_at}
        session.execute(written.on_conflict_do_update(index_elements=["job_id"], set_=changed))
