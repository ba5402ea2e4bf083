"""The evidence bundle of a proposal as one file: what was decided, by whom, on what; checked without a database.

A file of JSON with these sections, each with its SHA-256 under `sha256`:

| section | holds |
|---|---|
| `holdfast_bundle`, `exported_at` | the format, and when it was written |
| `proposal` | number, model, tier, state, versions, who asked and why |
| `evidence`, `evidence_sha256` | what people were shown; the hash of its canonical JSON, which votes bind to |
| `votes` | each with stage, actor, decision, reason, time and the evidence hash it is bound to |
| `gates`, `comparison`, `snapshot`, `shadow` | what the candidate met and learned from; the live comparison |
| `audit` | the proposal's entries of the audit trail with both hashes |
| `model_card` | the candidate's, where there is one |
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.errors import BadInput
from monitor.governance.audit_chain import canonical_json, chain, sha256

FORMAT = 1
SECTIONS = (
    "holdfast_bundle", "exported_at", "proposal", "evidence", "evidence_sha256", "votes", "gates", "comparison",
    "snapshot", "shadow", "audit", "model_card",
)  # fmt: skip
_VOTED = {  # how the audit trail calls a vote
    ("training", "approve"): "proposal.approved",
    ("promotion", "approve"): "proposal.promotion_approved",
    ("training", "reject"): "proposal.rejected",
    ("promotion", "reject"): "proposal.rejected",
}


@dataclass(frozen=True, kw_only=True)
class BundleCheck:
    """Whether a bundle says what it said when it was written; `faults` are sentences, none where it does."""

    faults: tuple[str, ...]
    sentence: str

    @property
    def ok(self) -> bool:
        return not self.faults


def seal(sections: Mapping[str, Any]) -> bytes:
    """The file of these sections (all of `SECTIONS` but the format), with the hash of each."""
    whole = {"holdfast_bundle": FORMAT, **sections}
    return _text(whole | {"sha256": {name: sha256(canonical_json(whole[name])) for name in SECTIONS}})


def check_bundle(data: bytes) -> BundleCheck:
    """Check a file; every section that does not fit is named.

    That its audit entries are in the installation's trail is told by the trail itself, not here.

    Raises:
        BadInput: the file is no bundle.
    """
    found = _parsed(data)
    faults = tuple(_faults(found))
    if not faults and _text(found) != data:
        faults = ("The file is not as it was written: its spacing, or a name that occurs twice, was changed.",)
    return BundleCheck(faults=faults, sentence=" ".join(faults) or _intact(found))


def _text(whole: Mapping[str, Any]) -> bytes:
    return (json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
        version = found["holdfast_bundle"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadInput(
            f"expected a bundle that `holdfast proposal export` wrote, got something else ({type(error).__name__})"
        ) from None
    if version != FORMAT:
        raise BadInput(f"expected a bundle of format {FORMAT}, got {version!r}: install a newer Holdfast")
    return dict(found)


def _faults(found: Mapping[str, Any]) -> Iterator[str]:
    missing = [name for name in (*SECTIONS, "sha256") if name not in found]
    if missing or len(found) != len(SECTIONS) + 1:
        extra = sorted(set(found) - {*SECTIONS, "sha256"})
        yield f"The file's sections were changed: missing {missing or 'none'}, unknown {extra or 'none'}."
        return
    try:
        yield from _evidence_faults(found)
        yield from _vote_faults(found["votes"], found["evidence_sha256"], found["audit"])
        yield from _audit_faults(found["audit"], found["evidence_sha256"], found["proposal"])
        for name in SECTIONS:
            if found["sha256"].get(name) != sha256(canonical_json(found[name])):
                yield f"Section {name} was changed: it does not have the hash that it was sealed with."
        if set(found["sha256"]) != set(SECTIONS):
            yield "The list of hashes was changed."
    except (TypeError, KeyError, AttributeError) as error:
        yield f"The file's shape was changed: {type(error).__name__}: {error}."


def _evidence_faults(found: Mapping[str, Any]) -> Iterator[str]:
    actual = sha256(canonical_json(found["evidence"]))
    if actual != found["evidence_sha256"]:
        yield f"The evidence was changed: its hash is {actual[:12]}…, not {str(found['evidence_sha256'])[:12]}…."


def _vote_faults(
    votes: Sequence[Mapping[str, Any]], evidence: str, audit: Sequence[Mapping[str, Any]]
) -> Iterator[str]:  # fmt: skip
    for vote in votes:
        words = f"The vote of {vote['actor']} on the {vote['stage']}"
        if vote["evidence_sha256"] != evidence:
            yield f"{words} is bound to other evidence."
        elif not any(_tells_of(entry["entry"], vote) for entry in audit):
            yield f"{words} is not in the audit entries as it is told here."


def _tells_of(entry: Mapping[str, Any], vote: Mapping[str, Any]) -> bool:
    details = entry["details"]
    return (
        entry["action"] == _VOTED.get((vote["stage"], vote["decision"]))
        and (entry["actor"], entry["at"]) == (vote["actor"], vote["at"])
        and vote["reason"] in (details.get("reason"), details.get("sentence"))
    )


def _audit_faults(
    audit: Sequence[Mapping[str, Any]], evidence: str, proposal: Mapping[str, Any]
) -> Iterator[str]:  # fmt: skip
    last = 0
    for link in audit:
        entry = link["entry"]
        if link["number"] <= last:
            yield f"Audit entry #{link['number']} is out of order."
        last = link["number"]
        if chain(link["previous_hash"], entry) != link["hash"]:
            yield f"Audit entry #{link['number']} was altered after it was written."
        elif entry["details"].get("evidence_sha256", evidence) != evidence:
            yield f"Audit entry #{link['number']} speaks of other evidence."
        elif entry["subject"] != f"proposal:{proposal['id']}":
            yield f"Audit entry #{link['number']} is about {entry['subject']}, not about this proposal."


def _intact(found: Mapping[str, Any]) -> str:
    proposal, votes, audit = found["proposal"], len(found["votes"]), len(found["audit"])
    return (
        f"The bundle of proposal #{proposal['id']} ({proposal['model']}, {proposal['state']}) is intact: evidence "
        f"{found['evidence_sha256'][:12]}…, {votes} {'vote' if votes == 1 else 'votes'} bound to it, "
        f"{audit} audit {'entry' if audit == 1 else 'entries'}."
    )
