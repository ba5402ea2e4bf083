"""The registry over HTTP: versions with their lineage, cards, requests, freezing, bundles."""

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from monitor.db.engine import transaction
from monitor.db.read_registry import registry_page
from monitor.db.registry import FeatureSchema, Version
from monitor.db.retraining import Proposal
from monitor.db.traces import create_trace_tables
from monitor.governance.bundle import check_bundle
from tests.integration.test_audit_commands import tamper
from tests.integration.test_door import Browser, client, seeded, stranger  # noqa: F401  (fixtures)
from tests.integration.test_people import program
from tests.seeded import Seeded


@pytest.fixture
def second(engine: Engine, seeded: Seeded) -> None:  # noqa: F811
    """v2, which proposal #1 made out of v1."""
    manifest = {"provenance": {"weights_sha256": "ab" * 32, "recipe": {"name": "hardened"}}, "files": {}}
    with transaction(engine) as session:
        version = Version(
            model_id=seeded.model.id, number=2, name="v2", state="candidate", flavour="torch", manifest=manifest,
            manifest_sha256="1" * 64, baseline={"metric": {"name": "auroc", "value": 0.9}},
        )  # fmt: skip
        session.add(version)
        session.flush()
        session.get_one(Proposal, seeded.proposal.id).candidate_id = version.id


@pytest.mark.usefixtures("second")
def test_a_version_tells_its_parent_proposal_recipe_data_and_weights(client: Browser):  # noqa: F811
    newest, oldest = client.get("/v1/models/fraud/versions").json()
    assert (newest["name"], newest["parent"], newest["proposal"]) == ("v2", "v1", 1)
    assert (newest["recipe"], newest["weights_sha256"], newest["snapshot_sha256"]) == (
        "hardened",
        "ab" * 32,
        "9f3c" * 16,
    )
    assert (oldest["name"], oldest["state"], oldest["parent"], oldest["proposal"]) == ("v1", "champion", None, None)
    assert client.get("/v1/models/none/versions").status_code == 404


@pytest.mark.usefixtures("second")
def test_the_page_says_who_serves_what_is_kept_and_what_is_frozen(session: Session, engine: Engine):
    page = registry_page(session, "fraud")
    assert page.headline == "v1 of fraud serves; 1 other version is kept"
    assert [one.origin for one in page.versions] == ["proposal #1: hardened, over v1", "registered by hand"]
    assert not page.everything_frozen
    tamper(engine, "INSERT INTO freezes (frozen_by, reason) VALUES ('omar', 'incident')")
    assert registry_page(session, "fraud").everything_frozen


@pytest.mark.usefixtures("second")
def test_a_card_is_written_from_what_the_registry_keeps(
    client: Browser,  # noqa: F811
):
    answer = client.get("/v1/models/fraud/versions/v2/card")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.text.startswith("# ")
    for fact in ("fraud", "v2", "21,250", "ab" * 8):
        assert fact in answer.text
    assert client.get("/v1/models/fraud/versions/v9/card").status_code == 404


@pytest.mark.usefixtures("second")
def test_a_bundle_is_downloaded_and_intact(client: Browser, seeded: Seeded, engine: Engine):  # noqa: F811
    answer = client.get("/v1/proposals/1/bundle")
    assert answer.headers["content-disposition"] == 'attachment; filename="proposal-1.json"'
    assert check_bundle(answer.content).ok
    assert client.get("/v1/proposals/9/bundle").status_code == 404
    assert client.get(f"/v1/proposals/{'9' * 30}/bundle").status_code == 422


def test_a_retraining_is_requested_and_cancelled(client: Browser, seeded: Seeded, engine: Engine):  # noqa: F811
    with transaction(engine) as session:
        create_trace_tables(session, seeded.model, session.scalars(select(FeatureSchema)).one())
    assert client.post("/v1/proposals/1/cancel", json={"reason": "wait"}).json()["state"] == "cancelled"
    asked = client.post("/v1/models/fraud/proposals", json={"reason": "a new ring"}).json()
    assert asked["state"] == "awaiting_approval"
    (open_one, _) = client.get("/v1/models/fraud/proposals").json()
    assert (open_one["reason"], open_one["requested_by"]) == ("a new ring", "ana")
    assert "has an open proposal #2" in client.post("/v1/models/fraud/proposals", json={"reason": "x"}).json()["error"]
    assert client.post("/v1/models/fraud/proposals", json={"reason": ""}).status_code == 422


def test_freezing_is_for_operators_and_deciders_programs_included(
    client: Browser,  # noqa: F811
    seeded: Seeded,  # noqa: F811
    engine: Engine,
):
    assert client.post("/v1/models/fraud/freeze", json={"reason": "audit"}).json()["sentence"] == "fraud is frozen"
    assert client.post("/v1/models/fraud/freeze", json={"reason": "audit"}).status_code == 409
    assert client.post("/v1/models/fraud/unfreeze", json={"reason": "over"}).status_code == 200
    reader, operator = program(engine, roles=("viewer",)), program(engine, model="fraud")
    assert client.post("/v1/models/fraud/freeze", json={"reason": "x"}, headers=reader).status_code == 403
    assert client.post("/v1/models/fraud/freeze", json={"reason": "x"}, headers=operator).status_code == 200
