"""What some settings would have said of the reference itself: shown, and not trusted."""

from dataclasses import dataclass

from monitor.drift.detector import Detector


@dataclass(frozen=True, kw_only=True)
class ShadowReplay:
    """Alarms over the reference's own windows, beside what the budget allows for by chance.

    The windows taught the detector what is normal, so few alarms are no proof: at a true rate of 2.5 a year a replay of
    56 days expects .4. Many are one: the reference holds events of its own.
    """

    windows: int
    days: float
    alarms: int
    allowed: float

    @property
    def sentence(self) -> str:
        """The same in words.

        >>> ShadowReplay(windows=56, days=56.0, alarms=0, allowed=0.153).sentence
        'these settings would have raised 0 alerts in the 56 days of the reference (by chance 0.15 are allowed)'
        """
        alerts = f"{self.alarms} alert{'s' if self.alarms != 1 else ''}"
        span = f"the {self.days:.0f} days of the reference"
        return f"these settings would have raised {alerts} in {span} (by chance {self.allowed:.2g} are allowed)"


def shadow_replay(detector: Detector) -> ShadowReplay:
    """Replay the reference through a fresh detector, which is used up by it."""
    reference = detector.reference
    reports = [
        detector.update(window, profile)
        for window, profile in zip(reference.windows, reference.profiles, strict=True)
    ]  # fmt: skip
    seconds = sum(window.width.total_seconds() for window in reference.windows)
    return ShadowReplay(
        windows=len(reports),
        days=seconds / 86_400,
        alarms=sum(report.alarm for report in reports),
        allowed=len(reports) / detector.budget.ticks(reference.width),
    )
