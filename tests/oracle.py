"""Whether every champion got there lawfully, read from the rows alone and written without the code that it judges."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text

_SERVED = ("promoted", "observing", "confirmed", "rolled_back")


def illegal_promotions(connection: Connection) -> list[str]:
    """One sentence for each version that serves, or a proposal that says it was promoted, without what that takes."""
    rows = connection.execute(text("SELECT * FROM proposals WHERE state = ANY(:served)"), {"served": list(_SERVED)})
    promoted = [row._asdict() for row in rows]
    people = {name: set(roles) for name, roles in connection.execute(text("SELECT name, roles FROM users"))}
    models = {row.id: row._asdict() for row in connection.execute(text("SELECT * FROM models"))}
    found = [
        f"proposal {proposal['id']}: {why}"
        for proposal in promoted
        for why in _missing(proposal, models[proposal["model_id"]], _votes(connection, proposal), people, connection)
    ]
    oldest = connection.execute(text("SELECT model_id, min(id) AS id FROM versions GROUP BY 1"))
    first = {row.model_id: row.id for row in oldest}
    served = {(proposal["model_id"], proposal["candidate_id"]) for proposal in promoted}
    for model in models.values():
        pointed = model["champion_id"]
        if pointed != first.get(model["id"]) and (model["id"], pointed) not in served:
            found.append(f"model {model['name']}: version {model['champion_id']} serves and was never promoted")
    return found


def _votes(connection: Connection, proposal: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    chosen = text("SELECT * FROM votes WHERE proposal_id = :id")
    return [row._asdict() for row in connection.execute(chosen, {"id": proposal["id"]})]


def _missing(
    proposal: Mapping[str, Any], model: Mapping[str, Any], votes: list[Mapping[str, Any]],
    people: Mapping[str, set[str]], connection: Connection,
) -> list[str]:  # fmt: skip
    """What a promoted proposal lacks."""
    tier, solo, requester = model["tier"], model["solo"], proposal["requested_by"]
    approvals = [vote for vote in votes if vote["decision"] == "approve"]
    voters = {vote["actor"] for vote in approvals}
    lacking = []
    if tier == 0 and proposal["envelope_id"] is not None:
        signer = text("SELECT signed_by FROM envelopes WHERE id = :id")
        if "approver" not in people.get(connection.scalar(signer, {"id": proposal["envelope_id"]}), set()):
            lacking.append("its envelope was signed by no approver")
    elif len(voters) < (2 if tier >= 2 and not solo else 1):
        lacking.append(f"{len(voters)} people decided at tier {tier}")
    elif not any(vote["stage"] == "promotion" for vote in approvals):
        lacking.append("nobody voted for its promotion")
    if any(vote["decision"] == "reject" for vote in votes):
        lacking.append("somebody rejected it")
    if any(vote["evidence_sha256"] != proposal["evidence_sha256"] for vote in approvals):
        lacking.append("a vote binds to other evidence")
    if requester in voters and not solo:
        lacking.append(f"{requester} decided on their own request")
    allowed = {"approver", "validator"} if tier >= 3 else {"approver"}
    lacking += [f"{name} is no approver" for name in voters if not people.get(name, set()) & allowed]
    if tier >= 2:
        lacking += [f"{name} is an admin" for name in voters if "admin" in people.get(name, set())]
    if tier >= 3 and not any("validator" in people.get(name, set()) for name in voters):
        lacking.append("no validator was among those who decided")
    if not proposal["gates"] or not all(gate["passed"] for gate in proposal["gates"]):
        lacking.append("a gate was not passed")
    if proposal["candidate_id"] is None:
        lacking.append("it has no candidate")
    return lacking
