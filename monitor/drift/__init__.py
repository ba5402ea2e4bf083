"""Drift: profiles of traffic over frozen bins, what normal looks like, and a detector that keeps a false-alarm budget.

>>> from monitor.drift import Detector, FalseAlarmBudget, Reference
"""

from monitor.drift.bins import Binning
from monitor.drift.budget import FalseAlarmBudget
from monitor.drift.clock import likely_leaks, time_proxies, unique_columns, year_columns
from monitor.drift.compare import ComparisonReport, compare
from monitor.drift.detector import Detector, Sensitivity
from monitor.drift.overrides import FeatureOverride, Overrides
from monitor.drift.predictions import predictions_of, with_predictions
from monitor.drift.profile import Profile
from monitor.drift.reference import Reference
from monitor.drift.report import DriftReport, FeatureReport, FeatureStatus, Lane, State, Status
from monitor.drift.scores import THRESHOLDS, Score
from monitor.drift.shadow import ShadowReplay, shadow_replay

__all__ = [
    "THRESHOLDS",
    "Binning",
    "ComparisonReport",
    "Detector",
    "DriftReport",
    "FalseAlarmBudget",
    "FeatureOverride",
    "FeatureReport",
    "FeatureStatus",
    "Lane",
    "Overrides",
    "Profile",
    "Reference",
    "Score",
    "Sensitivity",
    "ShadowReplay",
    "State",
    "Status",
    "compare",
    "likely_leaks",
    "predictions_of",
    "shadow_replay",
    "time_proxies",
    "unique_columns",
    "with_predictions",
    "year_columns",
]
