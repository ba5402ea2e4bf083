"""What the API sends and takes."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, Field

from monitor.db.read_model import Judged


class ModelOut(BaseModel):
    """A model and how it fares."""

    name: str
    owner: str
    tier: int
    champion: str | None
    verdict: str | None
    needs: str
    proposal: int | None


class ChampionFile(BaseModel):
    """A file of the champion, and where it can be had."""

    name: str
    sha256: str
    size: int
    path: str


class ChampionOut(BaseModel):
    """The version that should serve; a serving process may poll this."""

    model: str
    version: str
    flavour: str
    manifest_sha256: str
    promoted_at: datetime | None
    confirmed_at: datetime | None
    manifest: dict[str, Any] = Field(default_factory=dict)
    files: list[ChampionFile] = Field(default_factory=list)


class VerdictOut(BaseModel):
    """What one window amounts to."""

    start: datetime
    end: datetime
    version: str
    verdict: str
    sentence: str
    advice: str
    rows: int
    revision: int
    metric: dict[str, Any] | None

    @classmethod
    def of(cls, window: Judged) -> Self:
        return cls(
            start=window.starts, end=window.ends, version=window.version, verdict=window.verdict,
            sentence=window.sentence, advice=window.advice, rows=window.rows, revision=window.revision,
            metric=vars(window.metric) if window.metric else None,
        )  # fmt: skip


class Decision(BaseModel):
    """A vote on the evidence that the person was shown."""

    evidence_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    reason: str = Field(default="", max_length=500)


class RollBack(BaseModel):
    """Why the champion has to go."""

    reason: str = Field(min_length=1, max_length=500)


class Done(BaseModel):
    """What came of an act."""

    sentence: str
    state: str | None = None
