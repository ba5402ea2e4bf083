"""Reading what `monitor.intake.write_counts` writes: the head of a body of profiles, and its lines."""

from dataclasses import dataclass
from datetime import UTC
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, Base64Bytes, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from monitor.batch import Keys, keys_of
from monitor.errors import BadInput, TooLarge
from monitor.intake.fields import LONGEST_ID
from monitor.intake.formats import LINES, MOST_ROWS, Received, read

Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID, pattern=r"^[^\x00]+$")]
_DAY = 86_400_000_000  # microseconds
_FAR = 1_000 * _DAY  # further apart than two moments of one bucket are


class Part(BaseModel):
    """The rows of one version in one bucket of time."""

    model_config = ConfigDict(extra="forbid")

    version: Text
    bucket: AwareDatetime = Field(description="its start")
    binning_id: str = Field(max_length=64)
    ids: list[Text] = Field(min_length=1, max_length=MOST_ROWS, description="trace_id of every row that is counted")
    times: list[Annotated[int, Field(ge=-_FAR, le=_FAR)]] = Field(
        description="event_time of each: microseconds after that of the row before, of the first after the bucket"
    )
    counts: Base64Bytes = Field(description="`monitor.drift.Profile.to_bytes()`")


class Head(BaseModel):
    """The first line of a body of profiles."""

    model_config = ConfigDict(extra="forbid")

    stamp: str = Field(max_length=64, description="of the plan by which it was made: GET …/intake")
    sample: int = Field(ge=0, le=MOST_ROWS, description="how many of the lines below are the rows that are kept")
    parts: list[Part] = Field(min_length=1, max_length=MOST_ROWS)


@dataclass(frozen=True, kw_only=True)
class CountsBody:
    """A body of profiles: every row by key and time, what was counted of them, the sample, and rows for quarantine.

    `starts` are the buckets of the parts. `keys` and `times` (n,) hold their rows end to end; `part_of` is the part of
    each.
    """

    stamp: str
    parts: tuple[Part, ...]
    starts: tuple[np.datetime64, ...]
    keys: Keys
    times: NDArray[np.datetime64]
    part_of: NDArray[np.intp]
    sample: Received
    others: Received


def read_counts(data: bytes, kind: str = LINES) -> CountsBody:
    """The profiles of an unpacked body, which is lines of JSON.

    Raises:
        BadInput: it cannot be read.
        TooLarge: more rows than a request may hold.
    """
    first, _, rest = data.partition(b"\n")
    try:
        head = Head.model_validate_json(first)
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, told["loc"])) or "the first line"
        raise BadInput(f"expected the head of a body of profiles, {where}: {told['msg'][:200]}") from None
    rows = sum(len(part.ids) for part in head.parts)
    if rows > MOST_ROWS:
        raise TooLarge(f"expected at most {MOST_ROWS:,} rows a request, got {rows:,}: send them in several")
    lines = [line for line in rest.split(b"\n") if line.strip()]
    if len(lines) < head.sample:
        raise BadInput(f"expected {head.sample:,} lines of the sample, got {len(lines):,}")
    starts = tuple(_start(part) for part in head.parts)
    return CountsBody(
        stamp=head.stamp,
        parts=tuple(head.parts),
        starts=starts,
        keys=keys_of([known for part in head.parts for known in part.ids]),
        times=np.concatenate([_times(part, start) for part, start in zip(head.parts, starts, strict=True)]),
        part_of=np.repeat(np.arange(len(head.parts)), [len(part.ids) for part in head.parts]),
        sample=read(b"\n".join(lines[: head.sample]), LINES),
        others=read(b"\n".join(lines[head.sample :]), LINES),
    )


def _start(part: Part) -> np.datetime64:
    try:
        return np.datetime64(part.bucket.astimezone(UTC).replace(tzinfo=None), "us")
    except OverflowError:
        raise BadInput(f"expected a bucket of these years, got {part.bucket}") from None


def _times(part: Part, start: np.datetime64) -> NDArray[np.datetime64]:
    if len(part.times) != len(part.ids):
        raise BadInput(f"expected a time for each of {len(part.ids):,} ids, got {len(part.times):,}")
    return start + np.cumsum(np.array(part.times, np.int64)).astype("timedelta64[us]")
