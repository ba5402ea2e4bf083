"""The serving side: told once of each new champion, over real HTTP, and able to ask for it at any time."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from monitor.acts.alerts import add_route
from monitor.acts.loop import configure_loop
from monitor.acts.promotion import confirm_serving, promote_again, rollback
from monitor.acts.serving import recommend_rollback, remind_serving
from monitor.api.sessions import COOKIE
from monitor.artifacts import Manifest
from monitor.db.alerts import Outbox
from monitor.db.audit import entries
from monitor.db.checks import CheckRun
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Job
from monitor.db.read_retraining import proposal_page
from monitor.db.registry import Model, Monitor, Version
from monitor.db.retraining import Proposal
from monitor.db.users import make_link, redeem_link, user_named
from monitor.jobs.context import Tools
from monitor.jobs.raise_alerts import judge
from monitor.jobs.worker import Worker
from monitor.windows import Window
from tests.governed import ADMIN, ANA, BEGIN, DAY, NOW, OMAR, Governed, govern, tools_for, with_artefact
from tests.integration.test_door import Browser, link
from tests.integration.test_rollback import promoted
from tests.web import Receiver, call, receiving, served

SECRET = "between us"


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def tools(engine: Engine, tmp_path: Path) -> Tools:
    return replace(tools_for(engine, tmp_path), link="http://holdfast", secret=lambda name: SECRET)


def governed(session: Session, hook: Receiver) -> Governed:
    made = govern(session)
    configure_loop(session, made.model, champion_webhook=hook.url, by=ADMIN, now=NOW)
    add_route(session, name="all", url="console:", model=None, least_severity="info", by=ADMIN, now=NOW)
    return made


def work(tools: Tools) -> int:
    """Every job that is due now; how many."""
    ran = 0
    while Worker(tools, "w1", kinds=["champion_webhook"]).run_once():
        ran += 1
    return ran


def sooner(engine: Engine) -> None:
    with transaction(engine) as session:
        for job in session.scalars(select(Job).where(Job.state == "queued")):
            job.run_at = NOW.replace(year=2020)


def test_a_promotion_and_a_rollback_are_each_told_once_and_signed(engine: Engine, tools: Tools, hook: Receiver):
    with transaction(engine) as session:
        made = governed(session, hook)
        promoted(session, made)
    assert (work(tools), work(tools)) == (1, 0)
    with transaction(engine) as session:
        later = NOW + timedelta(hours=1)
        rollback(session, session.get_one(Model, made.model.id), by=OMAR, reason="worse", now=later)
    assert work(tools) == 1
    assert [event["data"]["version"] for event in hook.events] == ["v2", "v1"]
    headers, body = hook.got[0]
    assert headers["idempotency-key"] == headers["webhook-id"] == hook.events[0]["id"]
    assert hook.events[0]["id"] != hook.events[1]["id"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    proof = base64.b64encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{proof}"
    with transaction(engine) as session:
        told = [entry.action for entry in entries(session) if entry.action.startswith("version.serving")]
        assert told == ["version.serving_told"] * 2


def test_without_a_webhook_nothing_is_owed(session: Session):
    promoted(session, govern(session))
    assert session.scalars(select(Job).where(Job.kind == "champion_webhook")).all() == []


def test_a_serving_side_that_is_down_is_told_later_with_the_same_id_and_holds_up_nothing(
    engine: Engine, tools: Tools, hook: Receiver
):
    hook.status = 503
    with transaction(engine) as session:
        made = governed(session, hook)
        promoted(session, made)
        assert made.model.champion_id != made.champion.id
    assert work(tools) == 1
    assert work(tools) == 0  # the next try is minutes away
    sooner(engine)
    hook.status = 200
    assert (work(tools), work(tools)) == (1, 0)
    assert len({event["id"] for event in hook.events}) == 1
    assert len(hook.got) == 2


def test_a_request_that_comes_late_does_not_undo_a_later_act(engine: Engine, tools: Tools, hook: Receiver):
    hook.status = 503
    with transaction(engine) as session:
        made = governed(session, hook)
        promoted(session, made)
    work(tools)
    with transaction(engine) as session:
        rollback(session, session.get_one(Model, made.model.id), by=OMAR, reason="worse", now=NOW + DAY)
    hook.status = 200
    sooner(engine)
    assert work(tools) == 2
    assert [event["data"]["version"] for event in hook.events] == ["v2", "v1"]  # v2's second try was not made


def test_a_serving_side_that_refuses_is_left_alone_and_people_are_told(engine: Engine, tools: Tools, hook: Receiver):
    hook.status = 410
    with transaction(engine) as session:
        promoted(session, governed(session, hook))
    assert work(tools) == 1
    sooner(engine)
    assert work(tools) == 0
    with transaction(engine) as session:
        message = session.scalars(select(Outbox).where(Outbox.event == "serving_not_told")).one().message
        assert "answered HTTP 410" in str(message)
        assert "s3cr3t" not in str(message)


def test_a_worker_that_dies_after_sending_sends_the_same_event_again(
    engine: Engine, tools: Tools, hook: Receiver, tmp_path: Path
):
    with transaction(engine) as session:
        promoted(session, governed(session, hook))
    armed = tools_for(engine, tmp_path, failpoint="champion_webhook.after_send:raise")
    work(replace(armed, secret=tools.secret))
    sooner(engine)
    assert work(tools) == 1
    first, second = hook.events
    assert first["id"] == second["id"]


def test_promoting_again_is_another_event(engine: Engine, tools: Tools, hook: Receiver):
    with transaction(engine) as session:
        made = governed(session, hook)
        _, candidate = promoted(session, made)
    with transaction(engine) as session:
        rollback(session, session.get_one(Model, made.model.id), by=OMAR, reason="to be sure", now=NOW + DAY)
    with transaction(engine) as session:
        again = session.get_one(Version, candidate.id)
        promote_again(session, again, by=OMAR, approved_by=ANA, now=NOW + 2 * DAY)
    work(tools)
    assert [event["data"]["version"] for event in hook.events] == ["v2"]  # what was overtaken is not told
    assert hook.events[0]["data"]["promoted_at"] == (NOW + 2 * DAY).isoformat()


@pytest.fixture
def client(engine: Engine, tmp_path: Path) -> Browser:
    browser = Browser(engine, tmp_path / "artifacts")
    browser.get(f"/sign-in?once={link(engine)}")
    return browser


def test_the_champion_is_told_with_its_files_and_not_again_while_it_stays(
    engine: Engine, tools: Tools, client: Browser
):
    with transaction(engine) as session:
        made = with_artefact(session, tools.store)
        sha256 = Manifest.from_document(made.champion.manifest).only_file().sha256
    first = client.get("/v1/models/fraud/champion")
    found = first.json()
    assert (found["version"], found["manifest"]["factory"]) == ("v1", "holdfast.tabular")
    (file,) = found["files"]
    assert file == {
        "name": "weights.safetensors", "sha256": sha256, "size": file["size"],
        "path": f"/v1/models/fraud/champion/artefact/{sha256}",
    }  # fmt: skip
    again = client._send("GET", "/v1/models/fraud/champion", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    data = client.get(file["path"])
    assert hashlib.sha256(data.content).hexdigest() == sha256
    assert "weights.safetensors" in data.headers["content-disposition"]
    assert client._send("GET", file["path"], headers={"If-None-Match": f'"{sha256}"'}).status_code == 304
    with transaction(engine) as session:
        session.get_one(Version, made.champion.id).confirmed_at = database_now(session)
    changed = client._send("GET", "/v1/models/fraud/champion", headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200


def test_whoever_waits_is_told_of_the_change(engine: Engine, tools: Tools, tmp_path: Path):
    with transaction(engine) as session:
        made = govern(session)
        person = user_named(session, "ana")
        cookie = f"{COOKIE}={redeem_link(session, make_link(session, person, lifetime=timedelta(minutes=5)))}"
    with served(engine, tmp_path) as root, ThreadPoolExecutor(1) as pool:
        url = f"{root}/v1/models/fraud/champion"
        _, _, headers = call(url, headers={"Cookie": cookie})
        asked = {"Cookie": cookie, "If-None-Match": headers["etag"]}
        waiting = pool.submit(call, f"{url}?wait=60", headers=asked)
        with transaction(engine) as session:
            promoted(session, replace(made, model=session.get_one(Model, made.model.id)))
        status, body, _ = waiting.result()
        assert (status, json.loads(body)["version"]) == (200, "v2")
        assert call(f"{url}?wait=1", headers={"Cookie": cookie, "If-None-Match": headers["etag"]})[0] == 200
        assert call(f"{url}?wait=61", headers=asked)[0] == 422


def test_only_whole_files_of_the_champion_are_handed_out(engine: Engine, tools: Tools, client: Browser):
    with transaction(engine) as session:
        made = with_artefact(session, tools.store)
        sha256 = Manifest.from_document(made.champion.manifest).only_file().sha256
    other = tools.store.put(b"rows of another model")
    for wrong in (other, "0" * 64, "..%2F..%2Fetc%2Fpasswd"):
        assert client.get(f"/v1/models/fraud/champion/artefact/{wrong}").status_code == 404
    path = tools.store.path(sha256)
    path.chmod(0o640)
    path.write_bytes(b"altered")
    answer = client.get(f"/v1/models/fraud/champion/artefact/{sha256}")
    assert (answer.status_code, "was altered or damaged" in answer.json()["error"]) == (422, True)
    assert Browser(engine, tools.store.root).get(f"/v1/models/fraud/champion/artefact/{sha256}").status_code == 401


def checked(
    session: Session, version: Version, day: int, *, kind: str = "quality", document: dict[str, object] | None = None
) -> Window:
    """A window whose rows all came from `version`, as one kind of check saw it."""
    chosen = select(Monitor).where(Monitor.model_id == version.model_id, Monitor.kind == kind)
    window = Window(BEGIN + day * DAY, BEGIN + (day + 1) * DAY)
    session.add(
        CheckRun(
            model_id=version.model_id, version_id=version.id, monitor_id=session.scalars(chosen).one().id, kind=kind,
            status="ok", starts=window.start, ends=window.end, rows=60, created_at=NOW + timedelta(hours=day),
            document=document or {},
        )
    )  # fmt: skip
    session.flush()
    return window


def test_a_promoted_version_that_the_traces_never_report_is_a_ticket_once(session: Session):
    made = govern(session)
    add_route(session, name="all", url="console:", model=None, least_severity="info", by=ADMIN, now=NOW)
    checked(session, made.champion, -5)  # before the promotion
    promoted(session, made)
    for day in (1, 2):
        checked(session, made.champion, day)
        assert not remind_serving(session, made.model, made.champion, NOW)
    checked(session, made.champion, 3)
    assert remind_serving(session, made.model, made.champion, NOW)
    assert not remind_serving(session, made.model, made.champion, NOW)
    message = session.scalars(select(Outbox).where(Outbox.event == "not_serving")).one().message
    assert message["title"] == "fraud: serving still reports v1"
    assert message["severity"] == "ticket"


def test_the_checks_of_windows_themselves_remind_and_recommend(session: Session, tools: Tools):
    made = govern(session)
    add_route(session, name="all", url="console:", model=None, least_severity="info", by=ADMIN, now=NOW)
    proposal, candidate = promoted(session, made)
    for day in (1, 2, 3):
        judge(session, tools, made.model, made.champion, checked(session, made.champion, day), NOW)
    assert len(session.scalars(select(Outbox).where(Outbox.event == "not_serving")).all()) == 1
    auc = {"name": "auroc", "value": 0.7, "low": 0.68, "high": 0.72, "n": 500, "higher_is_better": True}
    window = checked(session, candidate, 4)
    judge(session, tools, made.model, candidate, window, NOW)
    assert (proposal.state, proposal.comparison.get("rollback")) == ("observing", None)
    measured = {"metric": auc, "limit": 0.8, "coverage": 1.0}
    checked(session, candidate, 4, kind="performance", document=measured)
    judge(session, tools, made.model, candidate, window, NOW)
    session.refresh(proposal)
    assert proposal.comparison["rollback"]["verdict"] == "concept_drift"
    assert made.model.champion_id == candidate.id


def test_harm_while_observing_recommends_a_rollback_by_a_page_and_rolls_nothing_back(session: Session):
    made = govern(session)
    add_route(session, name="all", url="console:", model=None, least_severity="info", by=ADMIN, now=NOW)
    proposal, candidate = promoted(session, made)
    harm = {"verdict": "concept_drift", "sentence": "auroc 0.700 lies beyond the limit 0.800."}
    assert not recommend_rollback(session, made.model, candidate, **harm, now=NOW)  # nobody serves it yet
    confirm_serving(session, candidate, NOW)
    assert recommend_rollback(session, made.model, candidate, **harm, now=NOW)
    assert not recommend_rollback(session, made.model, candidate, **harm, now=NOW)
    assert made.model.champion_id == candidate.id
    message = session.scalars(select(Outbox).where(Outbox.event == "rollback_recommended")).one().message
    assert (message["severity"], message["do"].startswith("roll back to v1")) == ("page", True)
    page = proposal_page(session, proposal.id)
    assert page is not None
    assert page.recommendation.startswith("Recommend: ROLL BACK to v1. v2 does harm since it serves: auroc 0.700")
    assert any("rollback recommended" in event.what for event in page.timeline)
    rollback(session, made.model, by=OMAR, reason="harm", now=NOW + DAY)
    page = proposal_page(session, proposal.id)
    assert page is not None
    assert page.recommendation == ""
    assert session.get_one(Proposal, proposal.id).state == "rolled_back"


def test_who_rolls_back_does_not_wait_for_channels_or_torch_to_load():
    asked = "import sys, monitor.acts.promotion; print(sorted({'torch', 'apprise', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
