"""The reference: profiles of known-good windows, and what normal looks like in them."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from monitor.drift.bins import Binning
from monitor.drift.fit_normal import fit_normal
from monitor.drift.normal import Normal
from monitor.drift.profile import Profile
from monitor.drift.season import usual_width
from monitor.errors import BadInput, NotEnoughData
from monitor.schema import Schema
from monitor.windows import Window

MIN_WINDOW_ROWS = 50
MIN_WINDOWS = 14
MIN_ROWS = 1_000


@dataclass(frozen=True, eq=False)
class Reference:
    """Profiles of the reference windows over one binning; windows of fewer than 50 rows are merged into the next.

    >>> from datetime import UTC
    >>> days = pd.date_range("2026-01-01", periods=21, tz=UTC)
    >>> rng = np.random.default_rng(0)
    >>> entries = [(Window(d, d + timedelta(days=1)), pd.DataFrame({"x": rng.normal(size=100)})) for d in days]
    >>> reference = Reference.fit(entries, schema=Schema.infer(entries[0][1]))
    >>> reference.is_sufficient, reference.rows
    (True, 2100)
    """

    binning: Binning
    windows: tuple[Window, ...]
    profiles: tuple[Profile, ...]

    @classmethod
    def fit(
        cls,
        entries: Sequence[tuple[Window, pd.DataFrame | Profile]],
        *,
        schema: Schema,
        binning: Binning | None = None,
    ) -> Self:
        """From one frame or profile a reference window. Without a binning, one is frozen on all frames together.

        Raises:
            NotEnoughData: there is no entry, or no frame to freeze bins on.
        """
        frames = [data for _, data in entries if isinstance(data, pd.DataFrame)]
        made = [data.binning for _, data in entries if isinstance(data, Profile)]
        if binning is None and made:
            binning = made[0]
        if binning is None and not any(len(frame) for frame in frames):
            raise NotEnoughData("expected at least one reference window with rows, got none: send good rows first")
        if binning is None:
            index = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
            binning = Binning.fit(pd.concat(frames, ignore_index=True), schema, windows=index)
        chosen = binning
        profiles = [
            (window, data if isinstance(data, Profile) else Profile.of(data, chosen)) for window, data in entries
        ]
        return cls.from_profiles(profiles, schema=schema, binning=chosen)

    @classmethod
    def from_profiles(cls, entries: Sequence[tuple[Window, Profile]], *, schema: Schema, binning: Binning) -> Self:
        """From profiles alone; no raw row is read.

        Raises:
            BadInput: the schema has other features than the binning, or a profile another binning.
        """
        if schema.names != binning.schema.names:
            raise BadInput(
                f"expected a binning of {', '.join(schema.names)}, got one of {', '.join(binning.schema.names)}"
            )
        merged: list[tuple[Window, Profile]] = []
        waiting: tuple[Window, Profile] | None = None
        for window, profile in sorted(entries, key=lambda entry: entry[0]):
            start, total = (window.start, Profile.empty(binning) + profile)
            if waiting is not None:
                start, total = waiting[0].start, waiting[1] + profile
            waiting = Window(start, window.end), total
            if total.rows >= MIN_WINDOW_ROWS:
                merged.append(waiting)
                waiting = None
        return cls(binning, tuple(w for w, _ in merged), tuple(p for _, p in merged))

    @property
    def schema(self) -> Schema:
        return self.binning.schema

    @property
    def rows(self) -> int:
        return sum(profile.rows for profile in self.profiles)

    @cached_property
    def total(self) -> Profile:
        """All reference windows added up."""
        return sum(self.profiles, start=Profile.empty(self.binning))

    @cached_property
    def windows_missing(self) -> int:
        """How many more windows of the usual size are needed before alarms can keep their budget."""
        usual = max(self.rows / max(len(self.windows), 1), MIN_WINDOW_ROWS)
        return max(MIN_WINDOWS - len(self.windows), int(np.ceil((MIN_ROWS - self.rows) / usual)), 0)

    @property
    def is_sufficient(self) -> bool:
        return self.windows_missing == 0

    @cached_property
    def width(self) -> timedelta:
        """The usual width of a window."""
        return usual_width(self.windows) if self.windows else timedelta(days=1)

    @cached_property
    def reference_id(self) -> str:
        """Sixteen hex digits over the binning and every window's counts."""
        return hashlib.sha256(json.dumps(self.to_document(), sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def normal(self) -> Normal:
        """Directions, season and dispersion, fitted once."""
        return fit_normal(self.binning, self.windows, self.profiles)

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values; profiles are base64 of `Profile.to_bytes`."""
        return {
            "binning": self.binning.to_document(),
            "windows": [
                {
                    "start": window.start.isoformat(),
                    "end": window.end.isoformat(),
                    "profile": base64.b64encode(profile.to_bytes()).decode(),
                }
                for window, profile in zip(self.windows, self.profiles, strict=True)
            ],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The reference that `to_document` wrote."""
        try:
            binning = Binning.from_document(document["binning"])
            windows = tuple(
                Window(datetime.fromisoformat(entry["start"]), datetime.fromisoformat(entry["end"]))
                for entry in document["windows"]
            )
            packed = [base64.b64decode(entry["profile"]) for entry in document["windows"]]
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"expected a reference document with binning and windows: {error}") from error
        return cls(binning, windows, tuple(Profile.from_bytes(data, binning) for data in packed))
