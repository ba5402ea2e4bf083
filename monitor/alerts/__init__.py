"""From findings to one message a problem: rules, the states of an alert, grouping, wording."""

from monitor.alerts.lifecycle import (
    AlertSnapshot,
    AlertState,
    Notice,
    Transition,
    acknowledge,
    advance,
    gravest,
    revise,
)
from monitor.alerts.message import Message
from monitor.alerts.rules import AlertKind, Condition, Rule, Severity, Signal, rule_for

__all__ = [
    "AlertKind",
    "AlertSnapshot",
    "AlertState",
    "Condition",
    "Message",
    "Notice",
    "Rule",
    "Severity",
    "Signal",
    "Transition",
    "acknowledge",
    "advance",
    "gravest",
    "revise",
    "rule_for",
]
