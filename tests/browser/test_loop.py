"""The governed loop as two people live it: real rows, a real worker, a real training, in a real browser."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine

from monitor.artifacts import Store
from monitor.db.checks import WindowVerdict
from monitor.db.engine import transaction
from monitor.db.registry import Model, Version, model_named
from monitor.db.users import make_link, user_named
from tests.browser.conftest import running, served
from tests.browser.test_walk import headline, snapshot
from tests.governed import BEGIN, DAY, serve, with_artefact

pytestmark = [pytest.mark.browser, pytest.mark.slow]
DAYS = 20
TRAINED_WITHIN = 180_000  # ms, on a busy machine


@dataclass(frozen=True)
class Platform:
    """A dashboard on a model whose world is another than the one it learned."""

    address: str
    engine: Engine
    database_url: str
    home: Path

    def signed_in(self, chromium: Browser, name: str) -> Page:
        """A browser of that person."""
        with transaction(self.engine) as session:
            once = make_link(session, user_named(session, name), lifetime=timedelta(minutes=5))
        page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(30_000)
        page.goto(f"{self.address}/?once={once}")
        return page

    def champion(self) -> str:
        with transaction(self.engine) as session:
            return session.get_one(Version, model_named(session, "fraud").champion_id).name


@pytest.fixture
def platform(engine: Engine, database_url: str, tmp_path: Path) -> Iterator[Platform]:
    with transaction(engine) as session:
        governed = with_artefact(session, Store(tmp_path / "artifacts"))
        serve(session, governed.model, 0, DAYS, moved_from=0)
        session.add(_harm(governed.model, governed.champion))
    with served(database_url, tmp_path) as address:
        yield Platform(address, engine, database_url, tmp_path)


def _harm(model: Model, champion: Version) -> WindowVerdict:
    metric = {"name": "auroc", "value": 0.1, "low": 0.05, "high": 0.15, "n": 60, "limit": 0.8, "reference": 0.9}
    return WindowVerdict(
        model_id=model.id, version_id=champion.id, starts=BEGIN + (DAYS - 1) * DAY, ends=BEGIN + DAYS * DAY, revision=0,
        verdict="concept_drift", sentence="AUC fell from 0.90 to 0.10.", advice="", rows=60, metric=metric,
    )  # fmt: skip


def test_one_person_asks_another_decides_a_worker_trains_and_the_way_back_is_one_click(
    platform: Platform, chromium: Browser
):
    omar = platform.signed_in(chromium, "omar")
    omar.goto(f"{platform.address}/retraining")
    omar.get_by_text("Ask for a retraining").click()
    omar.get_by_label("Why").fill("The sign of amount has turned round")
    omar.get_by_role("button", name="Ask").click()
    headline(omar, "Proposal #1 for fraud awaits approval")
    expect(omar.get_by_text("needs one of approver, validator")).to_be_visible()
    expect(omar.get_by_role("button", name="Approve the training")).to_be_disabled()

    ana = platform.signed_in(chromium, "ana")
    ana.goto(f"{platform.address}/retraining?proposal=1")
    headline(ana, "Proposal #1 for fraud awaits approval")
    expect(ana.get_by_text("The sign of amount has turned round").first).to_be_visible()
    ana.get_by_label("Reason").fill("the labels agree")
    ana.get_by_role("button", name="Approve the training").click()
    headline(ana, "the training is queued")
    worker = [sys.executable, "-m", "monitor.cli.app", "worker"]
    with running(worker, platform.database_url, platform.home, "worker"):
        expect(ana.get_by_test_id("stProgress")).to_be_visible(timeout=TRAINED_WITHIN)
        expect(ana.get_by_text("epoch").first).to_be_visible(timeout=TRAINED_WITHIN)
        expect(ana.locator("h1")).to_contain_text("is trained and awaits promotion", timeout=TRAINED_WITHIN)
        expect(ana.get_by_text("Gates: ")).to_be_visible()
        snapshot(ana, "loop-gates")
        assert platform.champion() == "v1"
        ana.get_by_role("button", name="Promote v2").click()
        headline(ana, "is promoted; serving still reports v1")
    assert platform.champion() == "v2"  # no worker runs any more
    omar.goto(f"{platform.address}/retraining?proposal=1")
    omar.get_by_role("button", name="Roll back to v1").click()
    headline(omar, "was rolled back")
    assert platform.champion() == "v1"
    snapshot(omar, "loop-rolled-back")
