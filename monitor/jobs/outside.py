"""Candidates that are trained outside: by a command in a child process, or by a service that answers in its own time.

A service's answer is awaited by nobody: the job ends once it was asked, and its answer queues the job again.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from monitor.acts import outside as acts
from monitor.acts.proposals import subject_of
from monitor.acts.trainers import WebhookTrainer
from monitor.artifacts import Manifest
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Claimed, complete, enqueue
from monitor.db.retraining import OutsideTraining, Proposal
from monitor.errors import BadInput
from monitor.jobs.context import Tools, effect
from monitor.jobs.deliver import pause
from monitor.jobs.material import Material
from monitor.jobs.outside_files import Facts, file_name, given_of, manifest_of, rows_bytes
from monitor.notify.addresses import host_of
from monitor.notify.channels import Delivery
from monitor.notify.events import Event, post
from monitor.schema import Schema

TRAIN = "holdfast.training.requested"


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What came back, by recipe, and the material with exactly those rows held out that the trainer was not given."""

    material: Material
    manifests: dict[str, Manifest]


def answer_of(
    tools: Tools, job: Claimed, material: Material, trainer: WebhookTrainer, folder: Path, inputs: Mapping[str, str]
) -> Answer | None:
    """The service's answer; None when the job is over because it was asked just now, or has not answered yet.

    Raises:
        BadInput: it failed, or did not answer in time, or cannot be asked.
    """
    with transaction(tools.engine) as session:
        now = database_now(session)
        found = acts.trainings_of(session, session.get_one(Proposal, material.proposal.id))
        session.expunge_all()
    newest = found[-1] if found else None
    if newest is not None and newest.state == "delivered":
        return _answered(tools, newest, material, folder, inputs)
    if newest is not None and newest.state == "failed":
        raise BadInput(f"the trainer says: {newest.document['answer']['reason']}")
    over = newest.deadline if newest is not None else now + timedelta(hours=trainer.hours)  # of all requests together
    if now >= over:
        raise BadInput(f"{host_of(trainer.url)} did not answer by {over:%-d %b %Y %H:%M} UTC")
    if newest is None or newest.state == "abandoned" or not newest.document.get("sent"):
        _ask(tools, job, material, trainer, over)
        return None
    with effect(tools, job, point="train_asked"):
        return None


def _answered(
    tools: Tools, training: OutsideTraining, material: Material, folder: Path, inputs: Mapping[str, str]
) -> Answer:
    answer, given = training.document["answer"], training.document["given"]
    held = int((material.times >= pd.Timestamp(training.document["boundary"])).sum())
    material = replace(material, held=held, schema=Schema.from_document(given["schema"]))  # labels may have come since
    path = folder / file_name(answer["name"])
    path.write_bytes(tools.store.read(str(training.artefact_sha256)))
    manifest = manifest_of(path, Facts.model_validate(answer["facts"]), material, tools, kind="webhook", inputs=inputs)
    return Answer(material=material, manifests={"webhook": manifest})


def _ask(tools: Tools, job: Claimed, material: Material, trainer: WebhookTrainer, over: datetime) -> None:
    """Write down that it is asked, ask, and end this job: as done, or to be tried again later."""
    secret = tools.secret(trainer.secret_env)
    if not secret:
        raise BadInput(f"expected the secret to sign with in {trainer.secret_env} of the worker, got nothing")
    boundary = material.times.iloc[material.cut]
    learned = int((material.times < boundary).sum())  # rows of one moment are not told apart later
    rows = tools.store.put(rows_bytes(material, learned))
    given = given_of(material, learned) | {"rows_sha256": rows}
    with effect(tools, job, last=False, point="train_ask") as session:
        now = database_now(session)
        training, token = acts.ask(
            session, session.get_one(Proposal, material.proposal.id), deadline=over, now=now,
            document={"given": given, "boundary": boundary.isoformat(), "job_id": job.id},
        )  # fmt: skip
        event = _event(tools, training, given, token)
        number = training.id
    told = post(trainer.url, event, secret=secret, now=now)
    tools.failpoints.reach("train_ask.after_send")
    _settle(tools, job, number, told)


def _event(tools: Tools, training: OutsideTraining, given: dict[str, Any], token: str) -> Event:
    here = f"{tools.link}/v1/trainings/{training.id}"
    urls = {name: f"{here}/{name}" for name in ("rows", "progress", "artefact", "failed")}
    data = {**given, "training": training.id, "deadline": training.deadline.isoformat(), "token": token, "urls": urls}
    return Event(
        id=f"training-{training.id}", type=TRAIN, source=tools.link or "holdfast", subject=given["model"],
        time=training.asked_at, data=data,
    )  # fmt: skip


def _settle(tools: Tools, job: Claimed, training_id: int, told: Delivery) -> None:
    """What became of the request. One that may succeed later is made again, until its time is over.

    Raises:
        BadInput: the service refused.
    """
    tries = int(job.payload.get("tries", 0)) + 1
    with transaction(tools.engine) as session:
        training = session.get_one(OutsideTraining, training_id, with_for_update=True)
        if told.ok:
            training.document = {**training.document, "sent": True}
        elif training.state == "asked":
            acts.abandon(session, training)
        if told.ok or not told.permanent:
            complete(session, job)
        if not told.ok and not told.permanent:
            proposal = session.get_one(Proposal, training.proposal_id)
            enqueue(
                session, "retrain", stream=subject_of(proposal), payload={"proposal_id": proposal.id, "tries": tries},
                by=job.kind, run_at=database_now(session) + pause(tries, random.random()),
            )  # fmt: skip
    if not told.ok and told.permanent:
        raise BadInput(f"the trainer could not be asked: {told.detail}")


def forget_rows(tools: Tools, proposal_id: int) -> None:
    """Remove the rows that a trainer was handed, once nobody is to fetch them any more."""
    with transaction(tools.engine) as session:
        for training in acts.trainings_of(session, session.get_one(Proposal, proposal_id)):
            if training.state == "asked":
                acts.abandon(session, training)
            tools.store.drop(training.document["given"]["rows_sha256"])
