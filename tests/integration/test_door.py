"""The door as programs see it: sign-in, API, probes and reports, over one real database."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.middleware import Middleware

from dashboard.door import ASKED, AtTheDoor, routes
from monitor.acts import monitors
from monitor.api.sessions import COOKIE
from monitor.artifacts.store import Store
from monitor.db.checks import Report
from monitor.db.engine import make_engine, transaction
from monitor.db.jobs import Job
from monitor.db.registry import Model
from monitor.db.retraining import Proposal
from monitor.db.users import change_user, create_user, find_user, make_link, revoke, user_named
from tests.seeded import START, Seeded, populate


@pytest.fixture
def seeded(engine: Engine) -> Seeded:
    with transaction(engine) as session:
        return populate(session, days=40)


class Browser:
    """A person's HTTP client with its cookies, straight to the routes: Streamlit's catch-all is not needed here."""

    def __init__(self, engine: Engine, artifact_dir: Path) -> None:
        self.app = Starlette(routes=routes(engine, artifact_dir), middleware=[Middleware(AtTheDoor)])
        self.cookies = httpx.Cookies()

    def get(self, path: str, **sent: Any) -> httpx.Response:
        return self._send("GET", path, **sent)

    def post(self, path: str, **sent: Any) -> httpx.Response:
        return self._send("POST", path, **sent)

    def delete(self, path: str) -> httpx.Response:
        return self._send("DELETE", path)

    def send(self, method: str, path: str, **sent: Any) -> httpx.Response:
        return self._send(method, path, **sent)

    def _send(self, method: str, path: str, **sent: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://holdfast", cookies=self.cookies
            ) as client:
                answer = await client.request(method, path, **sent)
                self.cookies = client.cookies
                return answer

        return asyncio.run(send())


@pytest.fixture
def stranger(engine: Engine, tmp_path: Path) -> Browser:
    """A browser without a session."""
    return Browser(engine, tmp_path)


@pytest.fixture
def client(stranger: Browser, engine: Engine) -> Browser:
    """A browser in which Ana, an approver, is signed in."""
    stranger.get(f"/sign-in?once={link(engine)}")
    return stranger


def link(engine: Engine) -> str:
    with transaction(engine) as session:
        ana = find_user(session, "ana") or create_user(session, "ana", ["approver"])
        change_user(session, ana, roles=["approver", "operator"])
        return make_link(session, ana, lifetime=timedelta(minutes=5))


def test_a_link_signs_in_once_and_sets_a_cookie_out_of_scripts_reach(stranger: Browser, engine: Engine, tmp_path: Path):
    once = link(engine)
    first = stranger.get(f"/?once={once}")
    assert (first.status_code, first.headers["location"]) == (303, f"/sign-in?once={once}")
    second = stranger.get(first.headers["location"])
    assert second.headers["location"] == "/"
    assert {"HttpOnly", "SameSite=lax"} <= set(second.headers["set-cookie"].split("; "))
    again = Browser(engine, tmp_path).get(f"/sign-in?once={once}")
    assert (again.status_code, "set-cookie" in again.headers) == (403, False)
    assert "holdfast link" in again.text


def test_a_sign_in_leads_to_the_view_that_was_asked_for_and_nowhere_outside(stranger: Browser, engine: Engine):
    stranger.get("/drift?model=fraud&feature=age")  # this test has no Streamlit behind the door, but the door noted it
    assert stranger.get(f"/sign-in?once={link(engine)}").headers["location"] == "/drift?model=fraud&feature=age"
    stranger.cookies.set(ASKED, "//evil.example/drift")
    with transaction(engine) as session:
        once = make_link(session, user_named(session, "ana"), lifetime=timedelta(minutes=5))
    assert stranger.get(f"/sign-in?once={once}").headers["location"] == "/"


def test_a_stranger_gets_401_from_everything_that_tells_something(stranger: Browser, seeded: Seeded):
    for path in ("/v1/models", "/v1/models/fraud/champion", "/v1/models/fraud/verdicts", "/reports/1"):
        assert stranger.get(path).status_code == 401
    stranger.cookies.set(COOKIE, "forged")
    assert stranger.post("/v1/proposals/1/approve", json={"evidence_sha256": "0" * 64}).status_code == 401


def test_a_revoked_session_is_refused_on_the_next_request(client: Browser, engine: Engine):
    assert client.get("/v1/models").status_code == 200
    with transaction(engine) as session:
        revoke(session, client.cookies[COOKIE])
    assert client.get("/v1/models").status_code == 401


def test_the_api_tells_models_champion_and_verdicts(client: Browser, seeded: Seeded):
    (model,) = client.get("/v1/models").json()
    assert (model["name"], model["needs"]) == ("fraud", "proposal #1 awaits approval")
    assert client.get("/v1/models/fraud/champion").json()["version"] == "v1"
    verdicts = client.get("/v1/models/fraud/verdicts?last=9").json()
    assert [one["verdict"] for one in verdicts].count("pipeline_break") == 1
    missing = client.get("/v1/models/credit/champion").json()
    assert (missing["status"], missing["detail"]) == (404, "no model 'credit'; there are: fraud")


def test_a_vote_binds_to_the_evidence_that_was_shown(client: Browser, seeded: Seeded, session: Session):
    path = f"/v1/proposals/{seeded.proposal.id}/approve"
    assert client.post(path, json={"evidence_sha256": "0" * 64}).status_code == 409
    done = client.post(path, json={"evidence_sha256": seeded.proposal.evidence_sha256, "reason": "AUC fell"})
    assert done.json()["state"] == "queued"
    assert session.get_one(Proposal, seeded.proposal.id).state == "queued"


def test_another_origins_page_cannot_act_with_my_cookie(client: Browser, seeded: Seeded):
    vote = {"evidence_sha256": seeded.proposal.evidence_sha256}
    answer = client.post("/v1/proposals/1/approve", json=vote, headers={"Origin": "http://holdfast:9000"})
    assert answer.status_code == 403


def test_rolling_back_what_took_over_from_nobody_is_a_sentence(client: Browser, seeded: Seeded, session: Session):
    answer = client.post("/v1/models/fraud/rollback", json={"reason": "try"})
    assert answer.status_code == 422
    assert "nothing to go back to" in answer.json()["error"]
    assert session.get_one(Model, seeded.model.id).champion_id == seeded.champion.id


def test_a_report_runs_its_scripts_in_an_origin_of_its_own(
    client: Browser, seeded: Seeded, session: Session, tmp_path: Path
):
    sha256 = Store(tmp_path).put(b"<!doctype html><p>Evidently</p>")
    report = Report(
        model_id=seeded.model.id, starts=START, ends=START + timedelta(days=1), state="ready", html_sha256=sha256
    )
    session.add(report)
    session.commit()
    answer = client.get(f"/reports/{report.id}")
    assert answer.text.endswith("<p>Evidently</p>")
    assert answer.headers["content-security-policy"] == "sandbox allow-scripts"
    assert {client.get(f"/reports/{wrong}").status_code for wrong in ("999", "abc", "9" * 30)} == {404}


def test_probes_answer_for_machines(stranger: Browser, seeded: Seeded):
    assert stranger.get("/healthz").text == "ok\n"
    assert stranger.get("/readyz").text == "ready\n"
    assert 'holdfast_alerts{severity="page",state="firing"} 1.0' in stranger.get("/metrics").text


def test_a_dead_database_is_not_ready_but_alive(tmp_path: Path):
    client = Browser(make_engine("postgresql://nobody@127.0.0.1:1/none"), tmp_path)
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    assert "holdfast_database_up 0.0" in client.get("/metrics").text


def test_monitors_of_evidently_are_added_listed_and_removed_by_the_acts_that_guard_them(
    client: Browser, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(monitors, "checked", lambda config, *_, **__: config)  # a process of seconds
    settings = {"metrics": [{"name": "ValueDrift", "arguments": {"column": "amount"}}]}
    added = client.post("/v1/models/fraud/monitors", json={"name": "amounts", "settings": settings}).json()
    assert (added["name"], added["settings"]["alert"]) == ("amounts", False)
    assert client.get("/v1/models/fraud/monitors").json() == [added]
    assert client.get("/v1/models/fraud/monitors/results").json() == []
    again = client.post("/v1/models/fraud/monitors", json={"name": "amounts", "settings": settings})
    assert (again.status_code, "already" in again.json()["error"]) == (422, True)
    wrong = client.post("/v1/models/fraud/monitors", json={"name": "odd", "settings": {"metric": []}})
    assert (wrong.status_code, wrong.json()["error"]) == (422, "metric: Extra inputs are not permitted")
    assert "is removed" in client.delete("/v1/models/fraud/monitors/amounts").json()["sentence"]
    assert client.delete("/v1/models/fraud/monitors/amounts").status_code == 404


def test_a_report_is_ordered_once_and_made_by_the_workers(client: Browser, seeded: Seeded, session: Session):
    ordered = client.post("/v1/models/fraud/reports", json={"window": "2026-03-31T08:00", "preset": "drift"}).json()
    assert (ordered["preset"], ordered["start"], ordered["state"]) == ("drift", "2026-03-31T00:00:00Z", "queued")
    again = client.post("/v1/models/fraud/reports", json={"window": "2026-03-31", "preset": "drift"}).json()
    assert again["id"] == ordered["id"]
    assert client.get("/v1/models/fraud/reports").json() == [ordered]
    assert session.scalars(select(Job.payload).where(Job.kind == "report")).all() == [{"report_id": ordered["id"]}]
    refused = client.post("/v1/models/fraud/reports", json={"preset": "regression"})
    assert (refused.status_code, "for regression models" in refused.json()["error"]) == (422, True)
    assert "expected a time" in client.post("/v1/models/fraud/reports", json={"window": "soon"}).json()["error"]


def test_who_only_looks_may_neither_add_a_monitor_nor_order_a_report(
    stranger: Browser, engine: Engine, seeded: Seeded
):  # fmt: skip
    settings = {"metrics": [{"name": "RowCount"}]}
    asked = [("monitors", {"name": "rows", "settings": settings}), ("reports", {})]
    assert {stranger.post(f"/v1/models/fraud/{what}", json=sent).status_code for what, sent in asked} == {401}
    with transaction(engine) as session:
        eve = create_user(session, "eve", ["viewer"])
        once = make_link(session, eve, lifetime=timedelta(minutes=5))
    stranger.get(f"/sign-in?once={once}")
    assert {stranger.post(f"/v1/models/fraud/{what}", json=sent).status_code for what, sent in asked} == {403}
