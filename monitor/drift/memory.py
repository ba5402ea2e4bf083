"""What the detector carries from window to window, and its exact bytes."""

import base64
import json
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from monitor.drift.bins import FloatArray
from monitor.drift.profile import Profile
from monitor.drift.reference import Reference
from monitor.drift.report import State
from monitor.drift.slow_lane import STAKED, Bets
from monitor.drift.window_lane import LONGEST
from monitor.errors import BadInput
from monitor.windows import Window

_SMOOTHING = 0.3


@dataclass(kw_only=True, eq=False)
class Memory:
    """The last sixteen windows since the reset, and the incident.

    Attributes:
        deviations, offsets, rows: of the remembered windows, the newest last, shapes (T, D), (T, D), (T,).
        smoothed: EWMA of the deviations, shape (D,).
        active: directions that fired in the open incident, shape (D,).
        level: how far each was from the reference when it last fired, over its longest sum, shape (D,).
        announced: the size of its effect when it was last announced, 0 where it was not, shape (D,).
        reach: how many windows it took to see each at first, shape (D,).
        state: quiet, watch or open.
        bets: what the slow lane carries.
        calm: calm windows in a row while open.
        resolved_at: end of the window that resolved the last incident.
        waiting: a window too small to judge, to be merged into the next.
    """

    deviations: FloatArray
    offsets: FloatArray
    rows: FloatArray
    smoothed: FloatArray
    active: NDArray[np.bool_]
    level: FloatArray
    announced: FloatArray
    reach: FloatArray
    bets: Bets
    state: State = State.QUIET
    calm: int = 0
    resolved_at: datetime | None = None
    waiting: tuple[Window, Profile] | None = field(default=None)

    @classmethod
    def fresh(cls, directions: int, bets: Bets) -> Self:
        none = np.zeros((0, directions))
        return cls(
            deviations=none,
            offsets=none,
            rows=np.zeros(0),
            smoothed=np.zeros(directions),
            active=np.zeros(directions, np.bool_),
            level=np.zeros(directions),
            announced=np.zeros(directions),
            reach=np.ones(directions),
            bets=bets,
        )

    def remember(self, deviation: FloatArray, offset: FloatArray, rows: int) -> None:
        self.deviations = np.vstack([self.deviations, deviation])[-LONGEST:]
        self.offsets = np.vstack([self.offsets, offset])[-LONGEST:]
        self.rows = np.append(self.rows, float(rows))[-LONGEST:]
        self.smoothed = _SMOOTHING * deviation + (1 - _SMOOTHING) * self.smoothed

    def forget(self) -> None:
        """Both what was seen and the incident; when it was resolved stays."""
        empty = Memory.fresh(self.smoothed.size, self.bets.forgotten())
        self.deviations, self.offsets, self.rows = empty.deviations, empty.offsets, empty.rows
        self.smoothed, self.active = empty.smoothed, empty.active
        self.level, self.announced, self.reach = empty.level, empty.announced, empty.reach
        self.bets = empty.bets
        self.state, self.calm = State.QUIET, 0

    def to_bytes(self, settings: dict[str, Any]) -> bytes:
        """Exact, the same bytes for the same memory."""
        header = {
            **settings,
            "remembered": len(self.rows),
            "directions": self.smoothed.size,
            "bets": [self.bets.directed.shape[0], self.bets.shapes.size, self.bets.domain.size],
            "state": self.state.value,
            "calm": self.calm,
            "resolved_at": self.resolved_at.isoformat() if self.resolved_at else None,
            "waiting": _waiting_to_document(self.waiting),
        }
        body = b"".join(
            np.ascontiguousarray(array, dtype="<f8").tobytes()
            for array in (
                *(self.deviations, self.offsets, self.rows, self.smoothed, self.active, self.level, self.announced),
                *(self.reach, self.bets.directed, self.bets.shapes, self.bets.domain, self.bets.past),
            )
        )
        return zlib.compress(json.dumps(header, sort_keys=True).encode() + b"\n" + body, 6)

    @classmethod
    def from_bytes(cls, data: bytes, reference: Reference) -> tuple[Self, dict[str, Any]]:
        """The memory and settings that `to_bytes` wrote.

        Raises:
            BadInput: the bytes are no detector state.
        """
        try:
            head, body = zlib.decompress(data).split(b"\n", 1)
            header = json.loads(head)
            past, width = int(header["remembered"]), int(header["directions"])
            values = np.frombuffer(body, "<f8").astype(np.float64)
            bet, features, domain = (int(size) for size in header["bets"])
            sizes = [past * width, past * width, past, *[width] * 5, bet * STAKED, features, domain]
            parts = np.split(values, np.cumsum(sizes))
            memory = cls(
                deviations=parts[0].reshape(past, width),
                offsets=parts[1].reshape(past, width),
                rows=parts[2],
                smoothed=parts[3],
                active=parts[4] > 0,
                level=parts[5],
                announced=parts[6],
                reach=parts[7],
                bets=Bets.of(parts[8], parts[9], parts[10], parts[11]),
                state=State(header["state"]),
                calm=int(header["calm"]),
                resolved_at=datetime.fromisoformat(header["resolved_at"]) if header["resolved_at"] else None,
                waiting=_waiting_from(header["waiting"], reference),
            )
        except (zlib.error, KeyError, ValueError, TypeError) as error:
            raise BadInput(f"expected the bytes of Detector.state(), got something else: {error}") from error
        return memory, header


def _waiting_to_document(waiting: tuple[Window, Profile] | None) -> dict[str, str] | None:
    if waiting is None:
        return None
    window, profile = waiting
    packed = base64.b64encode(profile.to_bytes()).decode()
    return {"start": window.start.isoformat(), "end": window.end.isoformat(), "profile": packed}


def _waiting_from(document: dict[str, str] | None, reference: Reference) -> tuple[Window, Profile] | None:
    if document is None:
        return None
    window = Window(datetime.fromisoformat(document["start"]), datetime.fromisoformat(document["end"]))
    return window, Profile.from_bytes(base64.b64decode(document["profile"]), reference.binning)
