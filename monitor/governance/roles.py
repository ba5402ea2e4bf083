"""Who may do what. One `authorize` is called inside the transaction that changes something."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from monitor.errors import NotAllowed


class Role(StrEnum):
    """What a person is trusted with; a person holds a set of them."""

    VIEWER = "viewer"
    PRODUCER = "producer"
    OPERATOR = "operator"
    APPROVER = "approver"
    VALIDATOR = "validator"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Action(StrEnum):
    """Every guarded act."""

    VIEW = "view"
    SEND_TRACES = "send_traces"
    ACKNOWLEDGE = "acknowledge"
    GIVE_FEEDBACK = "give_feedback"
    DRILL = "drill"
    REQUEST_RETRAINING = "request_retraining"
    CANCEL = "cancel"
    APPROVE = "approve"
    REJECT = "reject"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    PROMOTE_AGAIN = "promote_again"
    ACCEPT_BASELINE = "accept_baseline"
    FREEZE = "freeze"
    SIGN_ENVELOPE = "sign_envelope"
    REVOKE_ENVELOPE = "revoke_envelope"
    RETIRE = "retire"
    REGISTER = "register"
    CONFIGURE = "configure"
    ORDER_REPORT = "order_report"
    STRESS = "run_stress_test"
    MANAGE_USERS = "manage_users"
    READ_AUDIT = "read_audit"


_OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})
_DECIDERS = frozenset({Role.APPROVER, Role.VALIDATOR})
_WHO: dict[Action, frozenset[Role]] = {
    Action.VIEW: frozenset(Role),
    Action.SEND_TRACES: frozenset({Role.PRODUCER}) | _OPERATORS,
    Action.ACKNOWLEDGE: _OPERATORS | _DECIDERS,
    Action.GIVE_FEEDBACK: _OPERATORS | _DECIDERS,
    Action.DRILL: _OPERATORS,
    Action.REQUEST_RETRAINING: _OPERATORS | _DECIDERS,
    Action.CANCEL: _OPERATORS | _DECIDERS,
    Action.APPROVE: _DECIDERS,
    Action.REJECT: _DECIDERS,
    Action.PROMOTE: _DECIDERS,
    Action.ROLL_BACK: frozenset({Role.OPERATOR}) | _DECIDERS,
    Action.PROMOTE_AGAIN: frozenset({Role.APPROVER}),
    Action.ACCEPT_BASELINE: _OPERATORS | _DECIDERS,
    Action.FREEZE: _OPERATORS | _DECIDERS,
    Action.SIGN_ENVELOPE: frozenset({Role.APPROVER}),
    Action.REVOKE_ENVELOPE: _OPERATORS | _DECIDERS,
    Action.RETIRE: _OPERATORS,
    Action.REGISTER: _OPERATORS,
    Action.CONFIGURE: _OPERATORS,
    Action.ORDER_REPORT: _OPERATORS | _DECIDERS | {Role.AUDITOR},
    Action.STRESS: _OPERATORS | _DECIDERS,
    Action.MANAGE_USERS: frozenset({Role.ADMIN}),
    Action.READ_AUDIT: frozenset({Role.AUDITOR, Role.ADMIN}),
}
_VOTES = frozenset({Action.APPROVE, Action.PROMOTE, Action.PROMOTE_AGAIN})
_OF_PEOPLE = _VOTES | {Action.REJECT, Action.REQUEST_RETRAINING, Action.MANAGE_USERS, Action.SIGN_ENVELOPE}
ROLES_OF_PROGRAMS = frozenset({Role.VIEWER, Role.PRODUCER, Role.OPERATOR, Role.AUDITOR})


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A person, a `program` that holds a token, or `policy`: the platform acting by its rules.

    `solo` is a declared team of one. `model` is the name of the one model that a program may concern itself with.
    """

    id: str
    name: str
    roles: frozenset[Role] = frozenset()
    solo: bool = False
    program: bool = False
    model: str | None = None


POLICY = Actor(id="policy", name="policy")


@dataclass(frozen=True, kw_only=True)
class Permission:
    """The act may go on; `self_approved` is recorded with it in the audit."""

    self_approved: bool = False


def authorize(
    actor: Actor, action: Action | str, *, requested_by: str | None = None, tier: int = 1, solo: bool = False,
    prior_approvers: Collection[str] = (), prior_validator: bool = False, reason: str = "",
    inside_envelope: bool = False,
) -> Permission:  # fmt: skip
    """Let the act pass, or refuse it with a sentence that says who may.

    Tiers, for approve and promote: T0 the policy itself may decide inside a pre-approved envelope; T1 one approver;
    T2 whoever approved the training does not promote; T3 also a written reason, and of the people who decide one is a
    validator (who votes at T3 only). The requester does not decide, unless the team is declared `solo`. From T2 an
    admin does not decide. A program never asks, never decides, and never says who may.

    Args:
        requested_by: id of who asked for this retraining.
        prior_approvers: ids of those who voted for this proposal before.
        prior_validator: whether one of them voted as validator.

    Raises:
        NotAllowed: not this person.

    >>> ann = Actor(id="ann", name="Ann", roles=frozenset({Role.APPROVER}))
    >>> authorize(ann, "approve", requested_by="policy")
    Permission(self_approved=False)
    """
    act = Action(action)
    if actor == POLICY:
        return _authorize_policy(act, tier=tier, inside_envelope=inside_envelope)
    if actor.program and act in _OF_PEOPLE:
        raise NotAllowed(f"to {_in_words(act)} needs a person; {actor.name} is a program: sign in and decide yourself")
    if not actor.roles & _WHO[act]:
        raise NotAllowed(
            f"to {_in_words(act)} needs one of {_listed(_WHO[act])}; {actor.name} is {_listed(actor.roles)}"
        )
    if act not in _VOTES:
        return Permission()
    return _authorize_vote(
        actor, act, requested_by=requested_by, tier=tier, solo=solo or actor.solo, prior_approvers=prior_approvers,
        prior_validator=prior_validator, reason=reason,
    )  # fmt: skip


def quorum(tier: int) -> int:
    """How many different people must decide, over training and promotion together."""
    return {0: 0, 1: 1}.get(tier, 2)


def _authorize_policy(act: Action, *, tier: int, inside_envelope: bool) -> Permission:
    if act is Action.REQUEST_RETRAINING:
        return Permission()
    if act in {Action.APPROVE, Action.PROMOTE} and tier == 0 and inside_envelope:
        return Permission()
    raise NotAllowed(f"to {_in_words(act)} needs a person: policy decides at tier 0 inside an approved envelope only")


def _authorize_vote(
    actor: Actor, act: Action, *, requested_by: str | None, tier: int, solo: bool, prior_approvers: Collection[str],
    prior_validator: bool, reason: str,
) -> Permission:  # fmt: skip
    if tier < 3 and Role.APPROVER not in actor.roles:
        raise NotAllowed(
            f"to {_in_words(act)} at tier {tier} needs an approver; {actor.name} is {_listed(actor.roles)}"
        )
    own = requested_by == actor.id
    if own and not solo:
        raise NotAllowed(f"{actor.name} asked for this retraining: someone else must {_in_words(act)} it")
    if tier < 2:
        return Permission(self_approved=own)
    if Role.ADMIN in actor.roles:
        raise NotAllowed(f"{actor.name} is an admin: at tier {tier} an admin does not {_in_words(act)}")
    repeated = actor.id in prior_approvers
    if repeated and not solo:
        raise NotAllowed(f"{actor.name} decided on this proposal before: at tier {tier} a second person must")
    if tier >= 3:
        _require_tier_three(actor, act, prior_approvers, prior_validator, reason)
    return Permission(self_approved=own or repeated)


def _require_tier_three(
    actor: Actor, act: Action, prior_approvers: Collection[str], prior_validator: bool, reason: str
) -> None:
    if not reason.strip():
        raise NotAllowed(f"tier 3 asks for a written reason to {_in_words(act)}: say why")
    last_vote = act is not Action.APPROVE or bool(prior_approvers)
    if last_vote and not prior_validator and Role.VALIDATOR not in actor.roles:
        raise NotAllowed("tier 3 asks for an independent validator among those who decide: none has voted yet")


def _in_words(act: Action) -> str:
    return act.value.replace("_", " ")


def _listed(roles: Collection[Role]) -> str:
    return ", ".join(sorted(roles)) or "nothing"
