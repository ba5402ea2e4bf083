"""Who may change a model, on what evidence, and the record of it."""

from monitor.governance.audit_chain import GENESIS, Verification, canonical_json, chain, verify
from monitor.governance.envelope import Change, Envelope, outside
from monitor.governance.gate import CandidateFigures, FairnessFigure, GateResult, Limits, all_passed, judge_gates
from monitor.governance.proposal import (
    CLOSED,
    TRANSITIONS,
    Decision,
    Evidence,
    ProposalState,
    check_transition,
    should_propose,
)
from monitor.governance.roles import POLICY, Action, Actor, Permission, Role, authorize, quorum

__all__ = [
    "CLOSED",
    "GENESIS",
    "POLICY",
    "TRANSITIONS",
    "Action",
    "Actor",
    "CandidateFigures",
    "Change",
    "Decision",
    "Envelope",
    "Evidence",
    "FairnessFigure",
    "GateResult",
    "Limits",
    "Permission",
    "ProposalState",
    "Role",
    "Verification",
    "all_passed",
    "authorize",
    "canonical_json",
    "chain",
    "check_transition",
    "judge_gates",
    "outside",
    "quorum",
    "should_propose",
    "verify",
]
