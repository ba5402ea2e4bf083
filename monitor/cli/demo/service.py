"""The demo's payment service: it scores with the champion of the registry, and sends traces and late labels."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from monitor.artifacts.load import LoadedModel, load_model
from monitor.artifacts.manifest import Manifest
from monitor.cli.demo.payments import Payments, day_start
from monitor.db.engine import transaction
from monitor.db.registry import champion, model_named
from monitor.intake.ingest import advance_watermark, ingest
from monitor.intake.labels import ingest_labels
from monitor.jobs.context import Tools

MODEL = "fraud"
LABEL_DAYS = 5  # every payment is confirmed or charged back within five days


@dataclass(kw_only=True)
class PaymentService:
    """Serves one day after the other. What it serves with it asks the registry for at the start of each day."""

    payments: Payments
    tools: Tools
    _serving: tuple[str, LoadedModel] | None = None
    _owed: list[pd.DataFrame] = field(default_factory=list)  # labels that are not known yet

    def serve(self, day: int) -> None:
        """Score the payments of `day`, log them, and send the labels that became known by its end."""
        version, model = self._champion()
        rows = self.payments.day(day, score=lambda frame: model.predict_score(_encode(frame)))
        rows["score"] = model.predict_score(_encode(rows))
        rows["version"] = version
        self._owe(day, rows)
        end = day_start(day + 1)
        with transaction(self.tools.engine) as session:
            registered = model_named(session, MODEL)
            ingest(session, registered, rows.drop(columns="fraud"), source="payments")
            ingest_labels(session, registered, self._due(end))
            advance_watermark(session, registered, end)
            registered.label_watermark = end

    @property
    def serving(self) -> str | None:
        """The version that the last day was served with."""
        return self._serving[0] if self._serving else None

    def settle(self, day: int) -> None:
        """Send every label that is still owed after the last day, as the five days after it would bring them."""
        end = day_start(day + 1) + timedelta(days=LABEL_DAYS)
        with transaction(self.tools.engine) as session:
            registered = model_named(session, MODEL)
            ingest_labels(session, registered, self._due(end))
            registered.label_watermark = end

    def _owe(self, day: int, rows: pd.DataFrame) -> None:
        known = rows["event_time"] + pd.to_timedelta(self.payments.label_delays(day, len(rows)), unit="D")
        self._owed.append(
            pd.DataFrame(
                {
                    "trace_id": rows["trace_id"],
                    "event_time": rows["event_time"],
                    "label": rows["fraud"].map(str),
                    "label_time": known,
                }
            )
        )

    def _due(self, until: datetime) -> pd.DataFrame:
        everything = pd.concat(self._owed, ignore_index=True)
        due = (everything["label_time"] < until).to_numpy(bool)
        self._owed = [everything[np.logical_not(due)]]
        return everything[due]

    def _champion(self) -> tuple[str, LoadedModel]:
        with transaction(self.tools.engine) as session:
            version = champion(session, model_named(session, MODEL))
            name, manifest = version.name, Manifest.from_document(version.manifest)
        if self._serving is None or self._serving[0] != name:
            self._serving = (name, load_model(manifest, self.tools.store, self.tools.factories))
        return self._serving


def _encode(frame: pd.DataFrame) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    from monitor.cli.demo.payments import SCHEMA

    return SCHEMA.encode(frame)
