"""What a producer has to know of a model to count its own rows: schema, bins, ticks, and which rows are kept.

The server writes it as a document, the client reads it. No SQL here: this runs in somebody else's service, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from monitor.drift.bins import Binning
from monitor.intake.sampling import SamplingPlan
from monitor.schema import Schema


@dataclass(frozen=True, kw_only=True)
class IntakePlan:
    """How rows of a model are counted and chosen.

    Attributes:
        stamp: changes when anything here does; profiles that were made by another plan are not taken.
        schema: the newest.
        serving: the version of rows that name none.
        binnings: by version, under None that of every other version.
        tick: the width of a bucket of profiles.
        sampling: which rows are kept.
        oldest: rows before it are no longer kept.
        ahead: how far past now an event time may lie.
        hashed: features of which only a keyed hash is counted and stored; the server alone has the key.
        why_rows: why every row has to come as it is; empty where counts and a sample will do.
    """

    stamp: str
    schema: Schema
    serving: str
    binnings: Mapping[str | None, Binning]
    tick: timedelta
    sampling: SamplingPlan
    oldest: datetime | None
    ahead: timedelta
    hashed: tuple[str, ...] = ()
    why_rows: str = ""

    def binning_of(self, version: str) -> Binning:
        """The bins that rows of a version are counted over."""
        return self.binnings.get(version) or self.binnings[None]

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values; each binning once, under its id."""
        used = {binning.binning_id: binning.to_document() for binning in self.binnings.values()}
        named = {name: binning.binning_id for name, binning in self.binnings.items() if name is not None}
        return {
            "stamp": self.stamp,
            "schema": self.schema.to_document(),
            "serving": self.serving,
            "binnings": used,
            "binning_of": named,
            "binning_of_others": self.binnings[None].binning_id if self.binnings else None,
            "tick_seconds": self.tick.total_seconds(),
            "sampling": {
                "rate": self.sampling.rate, "surprise": self.sampling.surprise, "threshold": self.sampling.threshold
            },
            "oldest": None if self.oldest is None else self.oldest.isoformat(),
            "ahead_seconds": self.ahead.total_seconds(),
            "hashed": list(self.hashed),
            "why_rows": self.why_rows,
        }  # fmt: skip

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The plan that `to_document` wrote.

        Raises:
            KeyError, TypeError, ValueError, HoldfastError: it is of another kind.
        """
        made = {known: Binning.from_document(told) for known, told in document["binnings"].items()}
        binnings: dict[str | None, Binning] = {name: made[known] for name, known in document["binning_of"].items()}
        if (others := document.get("binning_of_others")) is not None:
            binnings[None] = made[others]
        return cls(
            stamp=document["stamp"],
            schema=Schema.from_document(document["schema"]),
            serving=document["serving"],
            binnings=binnings,
            tick=timedelta(seconds=document["tick_seconds"]),
            sampling=SamplingPlan(**document["sampling"]),
            oldest=datetime.fromisoformat(document["oldest"]) if document.get("oldest") else None,
            ahead=timedelta(seconds=document["ahead_seconds"]),
            hashed=tuple(document["hashed"]),
            why_rows=document["why_rows"],
        )
