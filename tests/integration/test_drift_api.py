"""The acts on drift as programs see them, under /v1."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.integration.test_door import Browser, link
from tests.streams import REFERENCE_DAYS, World, drain_checks, register, serve_days, tools_for, window

SHIFT = REFERENCE_DAYS
LATER = (datetime.now(UTC) + timedelta(days=2)).isoformat()


@pytest.fixture
def client(engine: Engine, tmp_path: Path) -> Browser:
    browser = Browser(engine, tmp_path)
    browser.get(f"/sign-in?once={link(engine)}")
    return browser


@pytest.fixture
def drifting(engine: Engine, tmp_path: Path) -> None:
    """A drift alert over fourteen windows."""
    world = World(shift=(SHIFT, 1.0))
    register(engine, world, served=False)
    serve_days(engine, world, SHIFT, SHIFT + 14, labels=False)
    drain_checks(tools_for(engine, tmp_path))


@pytest.mark.usefixtures("drifting")
def test_an_incident_is_snoozed_woken_and_accepted_over_http(client: Browser):
    asked = {"until": LATER, "reason": "campaign"}
    assert client.post("/v1/alerts/1/snooze", json=asked).json()["state"] == "firing"
    assert client.post("/v1/alerts/1/snooze", json=asked).status_code == 409
    assert client.post("/v1/alerts/1/wake").json()["sentence"] == "alert 1 speaks again"
    assert client.post("/v1/alerts/9/wake").status_code == 404
    feature = "/v1/models/fraud/features/amount"
    assert client.post(f"{feature}/snooze", json=asked).status_code == 200
    assert client.post(f"{feature}/wake").status_code == 200
    assert client.post("/v1/models/fraud/features/amont/snooze", json=asked).status_code == 422
    assert client.post("/v1/models/fraud/baselines", json={"last": 3, "reason": "x"}).status_code == 422
    done = client.post("/v1/models/fraud/baselines", json={"reason": "the campaign stays"})
    assert done.json()["sentence"] == "14 windows are the baseline of v1 now"
    again = {"reason": "x", "start": window(SHIFT).start.isoformat(), "end": window(SHIFT + 13).end.isoformat()}
    assert client.post("/v1/models/fraud/baselines", json=again).status_code == 409
    assert [one["active"] for one in client.get("/v1/models/fraud/baselines").json()] == [True, False]


def test_calendar_and_detection_over_http(client: Browser, engine: Engine):
    register(engine, World(), reference=False, served=False)
    added = client.post("/v1/calendar", json={"name": "Black Friday", "start": "2026-11-27", "model": "fraud"}).json()
    assert (added["end"], added["author"]) == ("2026-11-28T00:00:00Z", "ana")
    repair = {"name": "Repair", "start": "2026-11-27T08:00:00+01:00", "end": "2026-11-27T09:00:00+01:00"}
    assert client.post("/v1/calendar", json=repair).json()["start"] == "2026-11-27T07:00:00Z"
    assert client.post("/v1/calendar", json=repair).status_code == 409
    assert client.post("/v1/calendar", json=repair | {"start": "someday"}).status_code == 422
    assert [one["name"] for one in client.get("/v1/calendar?model=fraud").json()] == ["Black Friday", "Repair"]
    assert client._send("DELETE", f"/v1/calendar/{added['id']}").status_code == 200
    assert client._send("DELETE", f"/v1/calendar/{added['id']}").status_code == 404
    asked = {"sensitivity": "quiet", "features": {"amount": {"weight": 0}, "age": {"tolerance": 0.2}}}
    set_to = client.post("/v1/models/fraud/detection", json=asked).json()
    assert set_to["features"]["amount"] == {"tolerance": None, "weight": 0.0}
    back = client.post("/v1/models/fraud/detection", json={"features": {"amount": None}}).json()
    assert list(back["features"]) == ["age"]
    assert client.get("/v1/models/fraud/detection").json() == back
    assert client.post("/v1/models/fraud/detection", json={"incidents": -1}).status_code == 422


def test_segments_over_http(client: Browser, engine: Engine):
    register(engine, World())
    asked = {"segment": "channel=app", "features": {"age": {"weight": 0}}}
    assert client.post("/v1/models/fraud/segments", json=asked).json()["features"]["age"]["weight"] == 0
    assert client.post("/v1/models/fraud/segments", json={"segment": "age=40"}).status_code == 422
    assert [one["segment"] for one in client.get("/v1/models/fraud/segments").json()] == ["channel=app"]
    assert client._send("DELETE", "/v1/models/fraud/segments/channel=app").status_code == 200
    assert client._send("DELETE", "/v1/models/fraud/segments/channel=app").status_code == 404


def test_nobody_acts_without_a_session_or_from_another_page(client: Browser, engine: Engine, tmp_path: Path):
    stranger = Browser(engine, tmp_path)
    for path in ("/v1/calendar", "/v1/models/fraud/baselines", "/v1/models/fraud/detection"):
        assert stranger.get(path).status_code == 401
        assert stranger.post(path, json={}).status_code in (401, 422)
    asked = {"name": "x", "start": "2026-11-27"}
    assert client.post("/v1/calendar", json=asked, headers={"Origin": "http://elsewhere"}).status_code == 403
    assert client.post("/v1/alerts/1/snooze", json={"until": "tomorrow", "reason": "x"}).status_code == 422
