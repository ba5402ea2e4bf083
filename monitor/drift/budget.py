"""How many false alarms are affordable, in words that a team can agree on."""

from dataclasses import dataclass
from datetime import timedelta

from monitor.errors import BadInput

SLOW_LANE_SHARE = 0.2  # of the budget; the window lane has the rest
MIN_TICKS = 30  # below so few windows in the period no budget can be kept by a sequential test


@dataclass(frozen=True, kw_only=True)
class FalseAlarmBudget:
    """At most `incidents` false incidents a model in `per_days` days of stationary traffic.

    >>> FalseAlarmBudget(incidents=1, per_days=365).ticks(timedelta(days=1))
    365.0
    """

    incidents: float = 1.0
    per_days: float = 365.0

    def __post_init__(self) -> None:
        if not (self.incidents > 0 and self.per_days > 0):
            raise BadInput(
                f"expected a budget above 0 incidents in above 0 days, got {self.incidents:g} in {self.per_days:g}"
            )

    @classmethod
    def for_fleet(cls, *, incidents_per_week: float, models: int) -> "FalseAlarmBudget":
        """ "F false incidents a week for G models", the same for each."""
        if models < 1:
            raise BadInput(f"expected at least one model in the fleet, got {models}")
        return cls(incidents=incidents_per_week / models, per_days=7.0)

    def ticks(self, width: timedelta) -> float:
        """c: the windows of this width that one false incident may take, at least `MIN_TICKS`."""
        return max(self.per_days / (width / timedelta(days=1)) / self.incidents, float(MIN_TICKS))
