"""What a producer has to know of a model to count its own rows: schema, bins, ticks, and which rows are kept.

The server writes it as a document, the client reads it. No SQL here: this runs in somebody else's service, too.
"""

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from monitor.drift.bins import Binning
from monitor.drift.profile import Profile
from monitor.intake.sampling import SamplingPlan
from monitor.schema import Schema

FORMAT = 1  # to be raised whenever the same rows would be read, refused, counted or chosen otherwise


class UnknownWindow(LookupError):
    """The plan does not say what was counted in the windows before this one."""


@dataclass(frozen=True, kw_only=True)
class IntakePlan:
    """How rows of a model are counted and chosen.

    Attributes:
        stamp: changes when anything here does; profiles that were made by another plan are not taken.
        schema: the newest.
        serving: the version of rows that name none.
        binnings: by version, under None that of every other version.
        tick: the width of a bucket of profiles.
        width: of a window.
        sampling: which rows are kept.
        usual: what was counted in the windows before those that begin then, where a number of rows a window is kept.
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
    width: timedelta
    sampling: SamplingPlan
    oldest: datetime | None
    ahead: timedelta
    hashed: tuple[str, ...] = ()
    why_rows: str = ""
    usual: Mapping[datetime, Profile | None] = field(default_factory=dict)

    def binning_of(self, version: str) -> Binning:
        """The bins that rows of a version are counted over."""
        return self.binnings.get(version) or self.binnings[None]

    def before(self, start: datetime) -> Profile | None:
        """What was counted in the windows before the one that begins then.

        Raises:
            UnknownWindow: the server did not say it.
        """
        if start not in self.usual:
            raise UnknownWindow(f"expected one of the {len(self.usual)} windows that are under way, got {start}")
        return self.usual[start]

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values; each binning once, under its id."""
        used = {binning.binning_id: binning.to_document() for binning in self.binnings.values()}
        named = {name: binning.binning_id for name, binning in self.binnings.items() if name is not None}
        return {
            "format": FORMAT,
            "stamp": self.stamp,
            "schema": self.schema.to_document(),
            "serving": self.serving,
            "binnings": used,
            "binning_of": named,
            "binning_of_others": self.binnings[None].binning_id if self.binnings else None,
            "tick_seconds": self.tick.total_seconds(),
            "width_seconds": self.width.total_seconds(),
            "sampling": asdict(self.sampling),
            "usual": {
                start.isoformat(): None if counted is None else base64.b64encode(counted.to_bytes()).decode()
                for start, counted in self.usual.items()
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
        if document["format"] != FORMAT:
            raise ValueError(
                f"expected a plan of format {FORMAT}, got {document['format']}: install this server's client"
            )
        made = {known: Binning.from_document(told) for known, told in document["binnings"].items()}
        binnings: dict[str | None, Binning] = {name: made[known] for name, known in document["binning_of"].items()}
        if (others := document.get("binning_of_others")) is not None:
            binnings[None] = made[others]
        usual: dict[datetime, Profile | None] = {
            datetime.fromisoformat(start): None
            if counted is None
            else Profile.from_bytes(base64.b64decode(counted), binnings.get(document["serving"]) or binnings[None])
            for start, counted in document.get("usual", {}).items()
        }
        return cls(
            stamp=document["stamp"],
            schema=Schema.from_document(document["schema"]),
            serving=document["serving"],
            binnings=binnings,
            tick=timedelta(seconds=document["tick_seconds"]),
            width=timedelta(seconds=document["width_seconds"]),
            sampling=SamplingPlan(**document["sampling"]),
            usual=usual,
            oldest=datetime.fromisoformat(document["oldest"]) if document.get("oldest") else None,
            ahead=timedelta(seconds=document["ahead_seconds"]),
            hashed=tuple(document["hashed"]),
            why_rows=document["why_rows"],
        )
