"""How a proposal reads in a terminal: evidence before anything that can be done."""

import textwrap
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from monitor.cli.acting import plain
from monitor.db.read_retraining import Gate, ProposalPage
from monitor.db.retraining import Shadow
from monitor.errors import NotAllowed
from monitor.governance.roles import Action, Actor, authorize

WIDTH = 118
_NAME = 9  # where the text of a field begins
SHOWN_DIGITS = 8  # of the evidence hash, enough to name it in a vote


def proposal_lines(page: ProposalPage, *, shadow: Shadow | None, reader: Actor | None) -> Iterator[str]:
    """The proposal in the layout of docs/how-to/govern.md."""
    versions = f"{page.champion} → {page.candidate or 'a new version'}"
    yield f"PROPOSAL #{page.id}  {page.model} {versions}   tier {page.tier}   {_stand(page)}"
    yield from _recommendation(page)
    yield from _field("WHY", page.reason)
    yield from _field("IF NOT", page.if_not)
    if page.stress:
        yield from _field("STRESS", page.stress)
    yield from _gates(page)
    if page.gates:
        yield from _field("WORSE", " ".join(page.worse) or "nothing that was measured")
    yield from _field("DATA", data_words(page.snapshot))
    if not page.gates:
        yield from _field("COST", str(page.evidence.get("cost") or "not estimated"))
    if shadow is not None:
        yield from _field("SHADOW", shadow_words(shadow))
    yield from _field("UNDO", f"one act: holdfast rollback {page.model} --reason …; {page.champion} stays warm")
    for vote in page.ballots:
        own = ", self-approved" if vote.self_approved else ""
        why = f": “{vote.reason}”" if vote.reason else ""
        yield from _field(
            "VOTE", f"{vote.actor} {vote.decision}d the {vote.stage} {vote.at:%-d %b %H:%M} UTC{own}{why}"
        )
    yield f"Evidence sha256 {page.evidence_sha256[:SHOWN_DIGITS]}…   {_permission(page, reader)}".rstrip()


def refusal(page: ProposalPage, reader: Actor) -> str:
    """Why this person may not decide on the present stage; empty when they may. The act itself asks again."""
    approvals = [vote for vote in page.ballots if vote.decision == "approve"]
    try:
        authorize(
            reader, Action.APPROVE if page.stage == "training" else Action.PROMOTE, requested_by=page.requested_by,
            tier=page.tier, solo=page.solo, prior_approvers=[vote.actor for vote in approvals],
            prior_validator=any(vote.as_validator for vote in approvals), reason="is given with the vote",
        )  # fmt: skip
    except NotAllowed as error:
        return str(error)
    return ""


def data_words(snapshot: Mapping[str, Any]) -> str:
    """The rows that the training learns from."""
    if not snapshot.get("rows"):
        return "the snapshot is taken when the training starts"
    ends = [snapshot[end] for end in ("starts", "ends") if snapshot.get(end)]
    span = " to ".join(f"{datetime.fromisoformat(end):%-d %b %Y}" for end in ends)
    mature = snapshot.get("label_coverage")
    labels = f", labels {mature:.0%} mature" if mature is not None else ""
    return f"{span}, {snapshot['rows']:,} rows{labels}, sha256 {str(snapshot.get('sha256', ''))[:12]}…"


def shadow_words(shadow: Shadow) -> str:
    """How far the comparison on live traces is, and what it says."""
    until, decisions = shadow.until or shadow.since, shadow.document.get("decisions") or {}
    words = f"{shadow.state}, {shadow.rows:,} labelled rows, {shadow.since:%-d %b %Y} to {until:%-d %b %Y}"
    if decisions.get("rows"):
        words += f", {decisions['changed'] / decisions['rows']:.1%} of {decisions['rows']:,} decisions change"
    return f"{words}. {shadow.document.get('sentence') or ''}".rstrip(". ")


def _stand(page: ProposalPage) -> str:
    approved = [vote for vote in page.ballots if (vote.stage, vote.decision) == ("training", "approve")]
    trained = f"training approved {approved[0].at:%-d %b} by {approved[0].actor}; " if approved else ""
    return f"{trained}{page.state.replace('_', ' ')}"


def _recommendation(page: ProposalPage) -> Iterator[str]:
    if page.last_error:
        yield from _wrapped(f"Ended: {page.last_error}", "")
    if page.recommendation:
        risk = f" Worst risk: {page.worse[0]}" if page.worse else ""
        yield from _wrapped(page.recommendation + risk, "")


def _gates(page: ProposalPage) -> Iterator[str]:
    if not page.gates:
        return
    passed = len(page.gates) - len(page.failed_gates)
    yield from _field("GATES", f"{passed} of {len(page.gates)} passed")
    for gate in sorted(page.gates, key=lambda gate: gate.passed):
        yield from _wrapped(f"{_mark(gate)} {gate.sentence}", " " * _NAME)


def _mark(gate: Gate) -> str:
    return "✓" if gate.passed else "✗"


def _permission(page: ProposalPage, reader: Actor | None) -> str:
    if page.stage is None or reader is None:
        return ""
    refused = refusal(page, reader)
    word = "approve" if page.stage == "training" else "promote"
    if refused:
        return f"You may not {word}: {refused}"
    own = page.requested_by == reader.id or any(vote.actor == reader.id for vote in page.ballots)
    return f"You may {word}, {reader.name}" + ("." if own else ": you neither asked for it nor voted on it.")


def _field(name: str, text: str) -> Iterator[str]:
    yield from _wrapped(text, " " * _NAME, first=f"{name:<{_NAME}}")


def _wrapped(text: str, indent: str, *, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        plain(text), WIDTH, initial_indent=indent if first is None else first, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
