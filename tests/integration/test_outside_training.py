"""Candidates that somebody else trains: by a command on the worker, or by a service over real HTTP."""

import base64
import hashlib
import hmac
import io
import json
import pickle
import re
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import psutil
import pytest
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sqlalchemy import Engine, select

from monitor.acts.loop import configure_loop
from monitor.acts.retraining import cancel
from monitor.artifacts import Manifest
from monitor.db.audit import entries
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Job
from monitor.db.registry import Model, Version
from monitor.db.retraining import OutsideTraining, Progress, Proposal
from monitor.errors import BadInput
from monitor.jobs.context import Tools
from monitor.jobs.plan import plan
from monitor.jobs.worker import Worker
from tests.commands import Commands
from tests.governed import ADMIN, BEGIN, DAY, FEATURES, OMAR, day_of, govern, late, serve, tools_for
from tests.integration.test_door import Browser, link
from tests.integration.test_retrain_job import MOVED, approved
from tests.web import Receiver, call, call_json, receiving, served, upload

SECRET = "between us"
DAYS, TRAINED_ROWS = 20, 400  # of 600 rows since the world moved, 200 are held out


def learned(frame: pd.DataFrame) -> bytes:
    """What a trainer makes of the rows it was given, as a skops file."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer(
        (numbers, ["amount", "age"]), (OneHotEncoder(handle_unknown="ignore"), ["channel"])
    )
    return skops.io.dumps(make_pipeline(columns, LogisticRegression()).fit(frame[list(FEATURES)], frame["label"]))


def trained_by(engine: Engine, trainer: dict[str, object]) -> None:
    with transaction(engine) as session:
        model = session.scalars(select(Model)).one()
        configure_loop(session, model, trainer=trainer, by=ADMIN, now=database_now(session))


def work(tools: Tools) -> bool:
    return Worker(tools, "w1", kinds=["retrain"]).run_once()


def ended(engine: Engine, number: int) -> Proposal:
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        session.expunge_all()
        return proposal


@dataclass(frozen=True)
class Service:
    """A proposal whose candidate a service trains; `root` is the address of Holdfast's API."""

    engine: Engine
    tools: Tools
    number: int
    root: str
    receiver: Receiver

    @property
    def asked(self) -> dict[str, object]:
        return self.receiver.events[-1]["data"]

    def url(self, what: str) -> str:
        return self.asked["urls"][what]

    @property
    def token(self) -> str:
        return self.asked["token"]

    @property
    def state(self) -> str:
        return ended(self.engine, self.number).state


@pytest.fixture
def service(engine: Engine, tmp_path: Path) -> Iterator[Service]:
    tools = tools_for(engine, tmp_path)
    number = approved(engine, tools)
    with receiving() as receiver, served(engine, tools.store.root) as root:
        trainer = {"kind": "webhook", "url": receiver.url, "secret_env": "HOLDFAST_SECRET_TRAINER", "hours": 2}
        trained_by(engine, trainer)
        secret = {"HOLDFAST_SECRET_TRAINER": SECRET}
        given = replace(tools, link=root, secret=lambda name: secret.get(name, ""))
        yield Service(engine, given, number, root, receiver)


@pytest.mark.slow
def test_a_service_is_asked_once_with_a_signature_and_no_worker_waits_for_it(service: Service):
    assert work(service.tools)
    assert not work(service.tools)
    ((headers, body),) = service.receiver.got
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    proof = base64.b64encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{proof}"
    (event,) = service.receiver.events
    assert (event["specversion"], event["type"], event["subject"]) == ("1.0", "holdfast.training.requested", "fraud")
    assert event["data"]["rows"] == TRAINED_ROWS
    assert service.state == "training"
    with transaction(service.engine) as session:
        (training,) = session.scalars(select(OutsideTraining))
        assert training.token_sha256 == hashlib.sha256(service.token.encode()).hexdigest()
        assert service.token not in str(training.document)
        assert service.token not in str([entry.details for entry in entries(session)])


@pytest.mark.slow
def test_what_a_service_trained_passes_the_same_gates(service: Service):
    work(service.tools)
    status, rows, headers = call(service.url("rows"), token=service.token)
    assert status == 200
    assert headers["etag"].strip('"') == service.asked["rows_sha256"] == hashlib.sha256(rows).hexdigest()
    frame = pd.read_parquet(io.BytesIO(rows))
    assert list(frame.columns) == [*FEATURES, "label"]
    held_out = pd.concat([day_of(n, moved=True) for n in range(DAYS - 4, DAYS)])
    assert not set(frame["amount"]) & set(held_out["amount"].iloc[-200:])
    told = {"done": 1, "total": 4, "sentence": "fitting"}
    assert call_json(service.url("progress"), told, token=service.token)[0] == 200
    with transaction(service.engine) as session:
        assert session.scalars(select(Progress.sentence)).all() == ["fitting"]
    facts = {"provenance": {"seed": 7, "weights_sha256": "theirs"}}
    status, answer = upload(service.url("artefact"), "m.skops", learned(frame), token=service.token, facts=facts)
    assert (status, "is compared with the champion next" in answer["sentence"]) == (200, True)
    assert work(service.tools)
    proposal = ended(service.engine, service.number)
    assert proposal.state == "awaiting_promotion", proposal.last_error
    assert proposal.recipe == "webhook"
    assert {"clean", "robust_auc_s2", "trigger_cleared"} <= {gate["name"] for gate in proposal.gates}
    assert proposal.snapshot["held_out_rows"] == 200
    with transaction(service.engine) as session:
        candidate = session.get_one(Version, proposal.candidate_id)
        manifest = Manifest.from_document(candidate.manifest)
        assert manifest.flavour == "sklearn"
        assert (manifest.provenance["trainer"], manifest.provenance["given"]) == ("webhook", facts["provenance"])
        assert manifest.provenance["inputs"]["champion"] == "v1"
    assert not service.tools.store._path(service.asked["rows_sha256"]).exists()


@pytest.mark.slow
def test_an_answer_needs_its_own_token_and_counts_once(service: Service):
    work(service.tools)
    artefact, failed = service.url("artefact"), service.url("failed")
    for token in ("", "guessed"):
        assert call(service.url("rows"), token=token)[0] == 401
        assert upload(artefact, "m.skops", b"x", token=token)[0] == 401
    other = artefact.replace(f"/trainings/{service.asked['training']}/", "/trainings/99/")
    assert upload(other, "m.skops", b"x", token=service.token)[0] == 401
    assert call_json(failed, {"reason": ""}, token=service.token)[0] == 422
    assert call_json(failed, {"reason": "no GPU was free"}, token=service.token)[0] == 200
    assert call_json(failed, {"reason": "again"}, token=service.token)[0] == 409
    assert call(service.url("rows"), token=service.token)[0] == 409
    assert work(service.tools)
    proposal = ended(service.engine, service.number)
    assert (proposal.state, proposal.last_error) == ("failed", "the trainer says: no GPU was free")


@pytest.mark.slow
def test_a_file_that_can_run_code_is_refused_and_the_training_is_still_awaited(service: Service):
    work(service.tools)
    for name, data in (("m.skops", pickle.dumps(LogisticRegression())), ("m.pkl", b"x"), ("../m.onnx", b"\x08")):
        status, answer = upload(service.url("artefact"), name, data, token=service.token)
        assert status == 422, answer
    facts = {"factory": "os:system"}
    status, _ = upload(service.url("artefact"), "m.skops", b"PK", token=service.token, facts={"cost": 1})
    assert status == 422
    frame = pd.concat([day_of(n, moved=True) for n in range(8)])
    assert upload(service.url("artefact"), "m.skops", learned(frame), token=service.token, facts=facts)[0] == 200
    assert work(service.tools)
    assert "no model factory 'os:system'" in str(ended(service.engine, service.number).last_error)


@pytest.mark.slow
def test_a_service_that_does_not_answer_in_time_ends_the_proposal(service: Service):
    work(service.tools)
    with transaction(service.engine) as session:
        (training,) = session.scalars(select(OutsideTraining))
        training.deadline = database_now(session) - timedelta(seconds=1)
    assert call(service.url("rows"), token=service.token)[0] == 409
    with transaction(service.engine) as session:
        plan(session)
        plan(session)
        assert session.scalars(select(Job.kind).where(Job.state == "queued", Job.kind == "retrain")).all() == [
            "retrain"
        ]
    assert work(service.tools)
    proposal = ended(service.engine, service.number)
    assert proposal.state == "failed"
    assert re.search(r"^http://127.0.0.1:\d+ did not answer by \d+ \w+ \d{4} ", str(proposal.last_error))


@pytest.mark.slow
def test_a_cancelled_proposal_abandons_its_training_and_its_rows(service: Service):
    work(service.tools)
    with transaction(service.engine) as session:
        cancel(session, session.get_one(Proposal, service.number), by=OMAR, reason="no", now=database_now(session))
    assert upload(service.url("artefact"), "m.skops", b"x", token=service.token)[0] == 409
    with transaction(service.engine) as session:
        plan(session)
    assert work(service.tools)
    with transaction(service.engine) as session:
        assert session.scalars(select(OutsideTraining.state)).all() == ["abandoned"]
        plan(session)
    assert not work(service.tools)
    assert not service.tools.store._path(service.asked["rows_sha256"]).exists()


@pytest.mark.slow
def test_a_service_that_is_down_is_asked_again_and_the_earlier_token_is_dead(service: Service):
    service.receiver.status = 503
    work(service.tools)
    first = service.token
    with transaction(service.engine) as session:
        job = session.scalars(select(Job).where(Job.state == "queued", Job.kind == "retrain")).one()
        assert job.run_at > database_now(session)
        job.run_at = database_now(session)
    service.receiver.status = 202
    assert work(service.tools)
    assert len(service.receiver.got) == 2
    assert call(service.url("rows"), token=first)[0] == 401
    assert call(service.url("rows"), token=service.token)[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize(("status", "location"), [(403, ""), (302, "http://127.0.0.1:1/elsewhere")])
def test_a_service_that_refuses_or_redirects_ends_the_proposal_without_quoting_its_address(
    service: Service, status: int, location: str
):
    service.receiver.status, service.receiver.location = status, location
    work(service.tools)
    proposal = ended(service.engine, service.number)
    assert proposal.state == "failed"
    assert f"answered HTTP {status}" in str(proposal.last_error)
    assert "s3cr3t" not in str(proposal.last_error)


@pytest.mark.slow
def test_a_worker_that_dies_after_asking_asks_anew(service: Service, tmp_path: Path):
    armed = tools_for(service.engine, tmp_path, failpoint="train_ask.after_send:raise")
    work(replace(armed, link=service.root, secret=service.tools.secret))
    with transaction(service.engine) as session:
        session.scalars(select(Job).where(Job.kind == "retrain")).one().run_at = database_now(session)
    assert work(service.tools)
    with transaction(service.engine) as session:
        assert session.scalars(select(OutsideTraining.state).order_by(OutsideTraining.id)).all() == [
            "abandoned", "asked",
        ]  # fmt: skip
    assert call(service.url("rows"), token=service.token)[0] == 200


@pytest.mark.slow
def test_labels_that_come_while_a_service_trains_move_no_row_that_it_saw_into_judgement(service: Service):
    work(service.tools)
    frame = pd.read_parquet(io.BytesIO(call(service.url("rows"), token=service.token)[1]))
    with transaction(service.engine) as session:
        model = session.scalars(select(Model)).one()
        extra = day_of(500, rows=90, moved=True)
        extra["event_time"] = [BEGIN + (MOVED + 1) * DAY + DAY * (i / 90) for i in range(90)]
        late(session, model, extra)
    assert upload(service.url("artefact"), "m.skops", learned(frame), token=service.token)[0] == 200
    assert work(service.tools)
    proposal = ended(service.engine, service.number)
    assert proposal.snapshot["held_out_rows"] == 200
    assert proposal.snapshot["trained_rows"] == TRAINED_ROWS + 90


@pytest.mark.slow
def test_a_service_that_answers_before_it_accepts_is_heard(service: Service):
    frame = pd.concat([day_of(n, moved=True) for n in range(8)])
    answers: list[int] = []

    def answer() -> None:
        answers.append(upload(service.url("artefact"), "m.skops", learned(frame), token=service.token)[0])

    service.receiver.before_answering = answer
    work(service.tools)
    assert answers == [200]
    assert not work(service.tools)  # the job that asked was still there, so its answer queued nothing
    with transaction(service.engine) as session:
        plan(session)
    assert work(service.tools)
    assert ended(service.engine, service.number).recipe == "webhook"


@pytest.mark.slow
def test_of_two_answers_at_once_one_counts(service: Service):
    work(service.tools)
    data = learned(pd.concat([day_of(n, moved=True) for n in range(8)]))
    with ThreadPoolExecutor(4) as pool:
        given = [pool.submit(upload, service.url("artefact"), "m.skops", data, token=service.token) for _ in range(4)]
        found = sorted(one.result()[0] for one in given)
    assert found == [200, 409, 409, 409]
    with transaction(service.engine) as session:
        assert len(session.scalars(select(Job).where(Job.kind == "retrain", Job.state == "queued")).all()) == 1


SCRIPT = """#!{python}
{first}
import json, os, sys
import pandas as pd, skops.io
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
given = json.load(open("given.json"))
frame = pd.read_parquet("rows.parquet")
assert len(frame) == given["rows"]
print(json.dumps({{"done": 1, "total": 2, "sentence": "fitting " + sys.argv[1]}}))
print("secrets:", [name for name in os.environ if "SECRET" in name or "DATABASE" in name])
columns = make_column_transformer(
    (make_pipeline(SimpleImputer(), StandardScaler()), ["amount", "age"]),
    (OneHotEncoder(handle_unknown="ignore"), ["channel"]),
)
fitted = make_pipeline(columns, LogisticRegression()).fit(frame.drop(columns=given["target"]), frame[given["target"]])
skops.io.dump(fitted, "m.skops")
facts = {{"artefact": "m.skops", "provenance": {{"environment": sorted(os.environ), "argv": sys.argv[1:]}}}}
json.dump(facts, open("facts.json", "w"))
{more}
"""


def command(tools: Tools, folder: Path, first: str = "", more: str = "") -> tuple[Tools, str]:
    path = folder / "train"
    path.write_text(SCRIPT.format(python=sys.executable, first=first, more=more))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return replace(tools, commands=(str(path),)), str(path)


@pytest.mark.slow
@pytest.mark.parametrize("children", [True, False])
def test_a_command_trains_without_a_shell_and_without_secrets(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: bool
):
    monkeypatch.setenv("HOLDFAST_SECRET_TRAINER", SECRET)
    tools, path = command(tools_for(engine, tmp_path, children=children), tmp_path)
    number = approved(engine, tools)
    trained_by(engine, {"kind": "command", "argv": [path, "$(whoami); *"], "seconds": 120})
    work(tools)
    proposal = ended(engine, number)
    assert proposal.state == "awaiting_promotion", proposal.last_error
    assert proposal.recipe == "command"
    with transaction(engine) as session:
        manifest = session.get_one(Version, proposal.candidate_id).manifest
        given = manifest["provenance"]["given"]
        assert given["argv"] == ["$(whoami); *"]
        assert not {name for name in given["environment"] if "SECRET" in name or "DATABASE" in name}
        assert session.scalars(select(Progress)).one().total > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("print('out of memory, says the driver'); sys.exit(3)", "exit code 3: secrets: [] / out of memory, says"),
        ("os.remove('facts.json')", "to leave a file facts.json in its folder, got none"),
        ("import pickle; pickle.dump(1, open('m.skops', 'wb'))", "It can run code when loaded"),
        ("os.remove('m.skops'); os.symlink('/etc/passwd', 'm.skops')", "to leave a file m.skops in its folder"),
        ("json.dump({'artefact': '../m.skops'}, open('facts.json', 'w'))", "expected a plain file name"),
    ],
)
def test_a_command_that_fails_ends_the_proposal_with_what_it_said(engine: Engine, tmp_path: Path, more: str, said: str):
    tools, path = command(tools_for(engine, tmp_path), tmp_path, more=more)
    number = approved(engine, tools)
    trained_by(engine, {"kind": "command", "argv": [path, "now"], "seconds": 120})
    work(tools)
    proposal = ended(engine, number)
    assert proposal.state == "failed"
    assert said in str(proposal.last_error)


def test_a_command_that_runs_too_long_is_ended_with_all_that_it_started(engine: Engine, tmp_path: Path):
    first = (
        "import subprocess, time; print('began', subprocess.Popen(['sleep', '300']).pid, flush=True); time.sleep(60)"
    )
    tools, path = command(tools_for(engine, tmp_path), tmp_path, first=first)
    number = approved(engine, tools, days=8)
    trained_by(engine, {"kind": "command", "argv": [path], "seconds": 3})
    work(tools)
    found = re.search(r"ran longer than 3 s and was ended: began (\d+)$", str(ended(engine, number).last_error))
    assert found is not None, ended(engine, number).last_error
    left = int(found[1])
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE


@pytest.mark.slow
def test_a_model_that_cannot_score_rows_with_faults_ends_the_proposal(service: Service):
    work(service.tools)
    frame = pd.concat([day_of(n, moved=True) for n in range(8)])
    brittle = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["channel"]), remainder="passthrough"), LogisticRegression()
    )
    data = skops.io.dumps(brittle.fit(frame[["channel", "age"]], frame["label"]))
    assert upload(service.url("artefact"), "m.skops", data, token=service.token)[0] == 200
    assert work(service.tools)
    proposal = ended(service.engine, service.number)
    assert proposal.state == "failed"
    assert "the webhook version could not score the held-out rows" in str(proposal.last_error)


def test_a_command_that_this_machine_does_not_allow_is_not_run(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    number = approved(engine, tools, days=8)
    trained_by(engine, {"kind": "command", "argv": ["/bin/touch", str(tmp_path / "ran")]})
    work(tools)
    assert "'/bin/touch' may not run here; HOLDFAST_TRAINER_COMMANDS allows none" in str(
        ended(engine, number).last_error
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"kind": "shell"}, "Expected kind holdfast"),
        ({"kind": "command", "argv": []}, "trainer argv"),
        ({"kind": "command", "argv": ["/x"], "seconds": 0}, "trainer seconds"),
        ({"kind": "webhook", "url": "file:///etc/passwd", "secret_env": "HOLDFAST_SECRET_A"}, "trainer url"),
        ({"kind": "webhook", "url": "https://a.example", "secret_env": "DATABASE_URL"}, "trainer secret_env"),
        ({"kind": "holdfast", "argv": ["x"]}, "trainer argv"),
    ],
)
def test_a_trainer_that_cannot_be_is_refused_when_it_is_declared(engine: Engine, trainer: dict[str, object], said: str):
    with transaction(engine) as session:
        model = govern(session).model
        with pytest.raises(BadInput, match=said):
            configure_loop(session, model, trainer=trainer, by=ADMIN, now=database_now(session))


def test_what_is_asked_of_the_loop_is_audited_without_the_address(engine: Engine):
    with transaction(engine) as session:
        model = govern(session).model
        serve(session, model, 0, 1)
        with pytest.raises(BadInput, match="no feature sex of fraud; there are amount, age, channel"):
            configure_loop(session, model, fairness_by=["sex"], by=OMAR, now=database_now(session))
        hook = "https://hooks.example/t0ken"
        configure_loop(
            session, model, fairness_by=["channel"], champion_webhook=hook, by=OMAR, now=database_now(session)
        )
        written = entries(session)[-1]
        assert written.action == "model.loop_configured"
        assert written.details["champion_webhook"]["after"] == "https://hooks.example"
        assert model.settings["champion_webhook"] == hook


def test_the_loop_is_set_and_shown_on_the_command_line_and_over_http(engine: Engine, database_url: str, tmp_path: Path):
    with transaction(engine) as session:
        govern(session)
    holdfast = Commands(url=database_url, home=tmp_path)
    (tmp_path / "trainer.json").write_text(
        json.dumps({"kind": "webhook", "url": "https://train.example/t0ken", "secret_env": "HOLDFAST_SECRET_T"})
    )
    said = holdfast.well(
        "loop", "set", "fraud", "--trainer", tmp_path / "trainer.json", "--fairness", "channel, age",
        "--shadow-windows", 7, "--champion-webhook", "https://serving.example/t0ken",
    )  # fmt: skip
    assert said.splitlines()[:4] == [
        "fraud: trained by webhook at https://train.example", "  groups compared    channel, age",
        "  shadow             7 windows, limit 0.005", "  told who serves    https://serving.example",
    ]  # fmt: skip
    assert holdfast.well("loop", "show", "fraud") == said
    wrong = holdfast("loop", "set", "fraud", "--trainer", "nowhere.json")
    assert (wrong.code, "expected holdfast or a JSON file" in wrong.err) == (2, True)
    browser = Browser(engine, tmp_path)
    browser.get(f"/sign-in?once={link(engine)}")
    found = browser.get("/v1/models/fraud/loop").json()
    assert (found["trainer"]["url"], found["champion_webhook"]) == ("https://train.example", "https://serving.example")
    answer = browser.post("/v1/models/fraud/loop", json={"trainer": {"kind": "holdfast"}, "shadow_windows": 0})
    assert (answer.json()["trainer"], answer.json()["fairness_by"]) == ({"kind": "holdfast"}, ["channel", "age"])
    assert browser.post("/v1/models/fraud/loop", json={"shadow_windows": -1}).status_code == 422
