"""A proposal's bundle: whatever is changed in it is named, without a database."""

import json
import random
from typing import Any

import pytest

from monitor.errors import BadInput
from monitor.governance import GENESIS, canonical_json, chain
from monitor.governance.audit_chain import sha256
from monitor.governance.bundle import check_bundle, seal

AT = "2026-03-01T00:00:00.000000+00:00"
EVIDENCE = {"sentence": "AUC fell.", "metric": {"value": 0.84, "limit": 0.89}}
SHA = sha256(canonical_json(EVIDENCE))


def sections(**changed: Any) -> dict[str, Any]:
    entry = {
        "at": AT, "actor": "ana", "action": "proposal.approved", "subject": "proposal:7", "model": "fraud",
        "details": {"reason": "harmful", "evidence_sha256": SHA},
    }  # fmt: skip
    vote = {
        "stage": "training", "actor": "ana", "decision": "approve", "reason": "harmful", "at": AT,
        "evidence_sha256": SHA, "self_approved": False, "as_validator": False,
    }  # fmt: skip
    return {
        "exported_at": AT, "proposal": {"id": 7, "model": "fraud", "state": "queued"}, "evidence": EVIDENCE,
        "evidence_sha256": SHA, "votes": [vote], "gates": [{"name": "clean", "passed": True}], "comparison": {},
        "snapshot": {"rows": 3}, "shadow": None, "model_card": None,
        "audit": [{"number": 3, "entry": entry, "previous_hash": GENESIS, "hash": chain(GENESIS, entry)}],
    } | changed  # fmt: skip


def test_an_untouched_bundle_is_intact_and_says_what_it_is():
    found = check_bundle(seal(sections()))
    assert found.sentence == (
        f"The bundle of proposal #7 (fraud, queued) is intact: evidence {SHA[:12]}…, 1 vote bound to it, 1 audit entry."
    )


def test_every_changed_byte_is_found_and_said_in_a_sentence():
    data, rng = seal(sections()), random.Random(0)
    for _ in range(600):
        place = rng.randrange(len(data))
        wrong = (
            data[:place] + bytes([rng.choice([b for b in b'ab01 "\n{},:\xff' if b != data[place]])]) + data[place + 1 :]
        )
        try:
            found = check_bundle(wrong)
        except BadInput:
            continue
        assert not found.ok, (place, wrong[max(0, place - 20) : place + 20])
        assert found.sentence.endswith(".")


def resealed(**changed: Any) -> str:
    """What is said of a bundle whose hashes were all made to fit the change: by what people were shown and did."""
    return check_bundle(seal(sections(**changed))).sentence


def test_a_forger_who_seals_it_anew_is_caught_by_the_hashes_that_votes_and_trail_hold():
    whole = sections()
    (vote,), (link,) = whole["votes"], whole["audit"]
    assert "The evidence was changed" in resealed(evidence={**EVIDENCE, "sentence": "AUC rose."})
    other = {"sentence": "AUC rose."}
    swapped = resealed(evidence=other, evidence_sha256=sha256(canonical_json(other)))
    assert "vote of ana on the training is bound to other evidence" in swapped
    assert "is not in the audit entries as it is told here" in resealed(votes=[{**vote, "actor": "eve"}])
    assert "is not in the audit entries" in resealed(votes=[{**vote, "reason": "why not"}])
    assert "is not in the audit entries" in resealed(votes=[{**vote, "stage": "promotion"}])
    assert "Audit entry #3 was altered" in resealed(audit=[{**link, "entry": {**link["entry"], "model": "credit"}}])
    assert "out of order" in resealed(audit=[link, link])
    foreign = {**link["entry"], "subject": "proposal:8"}
    assert "not about this proposal" in resealed(audit=[{**link, "entry": foreign, "hash": chain(GENESIS, foreign)}])


def test_a_name_that_occurs_twice_and_other_spacing_are_found():
    text = seal(sections()).decode()
    twice = text.replace('"evidence_sha256":', '"evidence_sha256": "x",\n "evidence_sha256":', 1)
    assert not check_bundle(twice.encode()).ok
    assert "spacing" in check_bundle(json.dumps(json.loads(text)).encode()).sentence


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"holdfast_bundle": 2}'])
def test_what_is_no_bundle_is_refused(data: bytes):
    with pytest.raises(BadInput, match="expected a bundle"):
        check_bundle(data)


def test_a_bundle_without_a_section_or_of_another_shape_is_no_crash():
    whole = json.loads(seal(sections()))
    del whole["gates"]
    assert "missing ['gates']" in check_bundle(json.dumps(whole).encode()).sentence
    assert "shape was changed" in resealed(votes=[1])
    assert "shape was changed" in resealed(audit={"a": 1})
