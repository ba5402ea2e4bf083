"""How well a model does: metrics with intervals, tolerance, and the verdict of a window."""

from monitor.performance.evasion import EvasionEvidence, evasion_signature
from monitor.performance.labels import Labels, check_classes, ordered
from monitor.performance.measured import Measured, default_metric, measure, paired_difference
from monitor.performance.metrics import METRICS, Task, all_metrics
from monitor.performance.tolerance import is_beyond, limit_of
from monitor.performance.verdict import HARMFUL, Facts, Judgement, Verdict, judge

__all__ = [
    "HARMFUL",
    "METRICS",
    "EvasionEvidence",
    "Facts",
    "Judgement",
    "Labels",
    "Measured",
    "Task",
    "Verdict",
    "all_metrics",
    "check_classes",
    "default_metric",
    "evasion_signature",
    "is_beyond",
    "judge",
    "limit_of",
    "measure",
    "ordered",
    "paired_difference",
]
