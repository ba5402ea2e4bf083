"""What a monitor of kind `evidently` is told: which of Evidently's metrics, how often, and what its verdict may do."""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from monitor.errors import BadInput

MOST_METRICS = 100


class MetricSpec(BaseModel):
    """One of Evidently's metrics or presets, by name and arguments; a test within is written the same way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    arguments: dict[str, Any] = Field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the arguments name; none: the metric speaks of the whole frame."""
        named = [
            self.arguments[word] for word in ("column", "column_name") if isinstance(self.arguments.get(word), str)
        ]
        several = self.arguments.get("columns")
        inner = self.arguments.get("metric")  # of each group of rows
        within = MetricSpec(**inner).columns if isinstance(inner, dict) and "name" in inner else ()
        return (*named, *(several if isinstance(several, list) else ()), *within)


class EvidentlyConfig(BaseModel):
    """The settings of a monitor of kind `evidently`, stored as `Monitor.settings`.

    A fired metric is only shown unless `alert` says that it may raise a ticket. `limit_seconds` ends the process of one
    window; what was measured until then is kept. `since` is where the monitor began: earlier windows are not checked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: tuple[MetricSpec, ...] = Field(default=(), max_length=MOST_METRICS)
    every_windows: int = Field(default=1, ge=1, le=1_000)
    report_every_windows: int | None = Field(default=None, ge=1, le=1_000)
    alert: bool = False
    limit_seconds: int = Field(default=120, ge=5, le=600)
    since: datetime | None = None

    @field_validator("since")
    @classmethod
    def _in_utc(cls, moment: datetime | None) -> datetime | None:
        """A time without a zone is meant in UTC, as everywhere in Holdfast."""
        return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment

    def to_document(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True)


def read_config(document: Any) -> EvidentlyConfig:
    """The settings that a person, a file or the database gave.

    Raises:
        BadInput: something is missing, unknown or out of range; or there is nothing to measure and nothing to report.

    >>> read_config({"metrics": [{"name": "RowCount"}], "every": 2})
    Traceback (most recent call last):
        ...
    monitor.errors.BadInput: every: Extra inputs are not permitted
    """
    try:
        config = EvidentlyConfig.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the monitor"
        raise BadInput(f"{where}: {first['msg']}") from error
    if not config.metrics and config.report_every_windows is None:
        raise BadInput("expected at least one metric, or a report every so many windows: there is nothing to do")
    return config


def stored_config(document: Any) -> EvidentlyConfig | None:
    """The settings of a monitor's row; None where another release wrote what this one cannot read."""
    try:
        return read_config(document)
    except BadInput:
        return None
