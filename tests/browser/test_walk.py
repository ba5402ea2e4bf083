"""What a person does, in a real browser: sign in, see what needs them, decide on evidence, undo; and how it looks."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, expect

from monitor.acts import retraining as acts
from monitor.db.engine import transaction
from monitor.db.registry import Model, Version
from monitor.db.retraining import Proposal
from monitor.db.users import create_user, make_link, user_named
from monitor.governance import POLICY, ProposalState
from tests.browser.conftest import ARTIFACTS, Door

pytestmark = [pytest.mark.browser, pytest.mark.slow]
VIEWS = ("overview", "model", "drift", "robustness", "alerts", "retraining", "intake", "registry", "audit", "settings")
GATES = [
    {"name": "clean", "value": 0.058, "limit": -0.005, "passed": True, "low": 0.04, "high": 0.075,
     "sentence": "Clean auroc 0.842 → 0.900 (+0.058 [+0.040, +0.075], limit −0.005)."},
    {"name": "robust_auc_s2", "value": 0.78, "limit": 0.61, "passed": True,
     "sentence": "Robust AUC at S2 0.61 → 0.78 (at least 0.61)."},
]  # fmt: skip
COMPARISON = {
    "clean": {"metric": "auroc", "value": 0.9, "low": 0.88, "high": 0.92, "champion": 0.842},
    "robust": {"metric": "robust_auc", "value": 0.78, "low": 0.75, "high": 0.81, "champion": 0.61},
}


def headline(page: Page, words: str) -> None:
    expect(page.locator("h1")).to_contain_text(words)


def snapshot(page: Page, name: str) -> None:
    """The whole page as a picture among the tests' artefacts."""
    ARTIFACTS.mkdir(exist_ok=True)
    page.wait_for_timeout(1_500)  # figures draw after their data
    size = page.viewport_size
    assert size is not None
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": max(600, int(height) + 20)})
    page.wait_for_timeout(700)
    page.screenshot(path=ARTIFACTS / f"{name}.png")
    page.set_viewport_size(size)


def train(door: Door) -> None:
    """What the worker does once the training is approved, without the training."""
    with transaction(door.engine) as session:
        proposal = session.get_one(Proposal, door.seeded.proposal.id)
        candidate = Version(
            model_id=proposal.model_id, number=2, name="v2", state="candidate", flavour="torch",
            manifest_sha256="1" * 64, baseline={},
        )  # fmt: skip
        session.add(candidate)
        session.flush()
        found = {"gates": GATES, "comparison": COMPARISON, "candidate_id": candidate.id}
        steps: tuple[tuple[ProposalState, dict[str, object]], ...] = (
            (ProposalState.TRAINING, {}), (ProposalState.TRAINED, {}), (ProposalState.VALIDATING, {}),
            (ProposalState.AWAITING_PROMOTION, found),
        )  # fmt: skip
        for state, values in steps:
            acts.move(session, proposal, state, by=POLICY, now=datetime.now(UTC), **values)


def promote(door: Door) -> None:
    """What the worker does once the promotion is approved."""
    with transaction(door.engine) as session:
        acts.promote(session, session.get_one(Proposal, door.seeded.proposal.id), by=POLICY, now=datetime.now(UTC))


def test_a_person_signs_in_reads_the_evidence_approves_promotes_and_rolls_back(door: Door, page: Page):
    page.goto(door.link())
    headline(page, "1 model needs you: fraud")
    page.get_by_role("button", name="Review").click()
    headline(page, "Proposal #1 for fraud awaits approval")
    page.get_by_label("Reason").fill("AUC fell below the limit")
    page.get_by_role("button", name="Approve the training").click()
    headline(page, "the training is queued")
    expect(page.get_by_text("AUC fell below the limit").first).to_be_visible()
    train(door)
    headline(page, "is trained and awaits promotion")  # the page refreshes itself while a training runs
    expect(page.get_by_text("All 2 gates passed")).to_be_visible()
    snapshot(page, "promotion")
    page.get_by_role("button", name="Promote v2").click()
    expect(page.get_by_text("v2 is being promoted")).to_be_visible()
    promote(door)  # the page sees it by itself
    headline(page, "is promoted; serving still reports v1")
    page.get_by_role("button", name="Roll back to v1").click()
    headline(page, "was rolled back")
    with transaction(door.engine) as session:
        assert session.get_one(Model, door.seeded.model.id).champion_id == door.seeded.champion.id


def test_every_view_is_drawn_wide_narrow_and_dark_and_asks_nobody_else(door: Door, chromium: Browser):
    first = chromium.new_context()
    first.new_page().goto(door.link(), wait_until="networkidle")
    cookies = first.storage_state()
    foreign: list[str] = []
    for width, scheme in ((1280, "light"), (390, "light"), (1280, "dark"), (390, "dark")):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, storage_state=cookies, color_scheme=scheme  # type: ignore[arg-type]
        )  # fmt: skip
        page = context.new_page()
        page.on("request", lambda request: foreign.append(request.url) if "127.0.0.1" not in request.url else None)
        for name in VIEWS:
            page.goto(f"{door.address}/{'' if name == 'overview' else name}")
            headline(page, "")
            expect(page.get_by_test_id("stException")).to_have_count(0)
            snapshot(page, f"{name}-{width}-{scheme}")
            assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= width
        context.close()
    assert [url for url in foreign if not url.startswith(("data:", "blob:"))] == []


def test_an_evidently_report_cannot_read_the_dashboards_cookies(door: Door, page: Page):
    page.goto(door.link())
    page.goto(f"{door.address}/drift?evidently=true")
    frame = page.frame_locator("iframe[src*='/reports/']")
    expect(frame.locator("#who")).to_have_text("null")  # an origin of its own, although it came from here


def test_signing_out_ends_the_session_on_the_server(door: Door, page: Page):
    page.goto(door.link())
    page.get_by_role("button", name="Sign out").click()
    headline(page, "Sign in to Holdfast")
    page.goto(f"{door.address}/retraining?proposal=1")
    headline(page, "Sign in to Holdfast")
    expect(page.get_by_text("AUC")).to_have_count(0)


def test_an_admin_adds_a_person_who_signs_in_by_the_link_and_sees_no_admins_actions(door: Door, chromium: Browser):
    with transaction(door.engine) as session:
        create_user(session, "root", ["admin"])
        once = make_link(session, user_named(session, "root"), lifetime=timedelta(minutes=5))
    admin = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
    admin.goto(f"{door.address}/?once={once}")
    headline(admin, "1 model needs you")
    admin.goto(f"{door.address}/settings")
    headline(admin, "2 people may sign in")
    form = admin.get_by_test_id("stForm").filter(has_text="Add a person")
    form.get_by_label("Name", exact=True).fill("eve")
    form.get_by_role("combobox").click()
    admin.get_by_role("option", name="viewer").click()
    admin.keyboard.press("Escape")
    admin.get_by_role("button", name="Add and invite").click()
    headline(admin, "3 people may sign in")
    link = admin.get_by_test_id("stCode").inner_text().strip()
    assert link.startswith(f"{door.address}/?once=")
    snapshot(admin, "settings-invited")
    eve = chromium.new_context(viewport={"width": 390, "height": 900}).new_page()
    eve.goto(link)
    headline(eve, "1 model needs you")
    eve.goto(f"{door.address}/settings")
    headline(eve, "are an admin's")
    eve.get_by_role("tab", name="People").click()
    expect(eve.get_by_text("to manage users needs one of admin; eve is viewer").first).to_be_visible()
    expect(eve.get_by_role("button", name="Add and invite")).to_have_count(0)
    eve.goto(f"{door.address}/audit")
    headline(eve, "is for auditors and admins")
    admin.goto(f"{door.address}/audit")
    admin.get_by_role("button", name="Verify the trail").click()
    expect(admin.get_by_text("The audit chain is intact")).to_be_visible()
    snapshot(admin, "audit-verified")
    for page in (admin, eve):
        page.context.close()
