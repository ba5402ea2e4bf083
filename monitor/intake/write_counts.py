"""A batch of a producer as counts of all its rows and a sample of them: what travels in place of the rows.

The body is lines of JSON. The first is the head: the stamp of the plan, how many of the lines below are the sample,
and a part for each version and bucket, with the id and time of every row that is counted there. The ledger needs these:
a row that comes again, in whatever batch, counts once. Lines after the sample are rows that cannot be taken; the server
judges them itself and keeps them in quarantine.
"""

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from monitor.batch import Batch, keys_of
from monitor.drift.profile import Profile
from monitor.errors import HoldfastError
from monitor.intake.formats import LINES, read
from monitor.intake.parts import parts
from monitor.intake.plan import IntakePlan
from monitor.intake.sampling import keep, probabilities
from monitor.intake.validate import validate

LEAST_ROWS = 25  # of a part, on average: the counts of fewer take as much room as the rows themselves


def write_counts(lines: Sequence[bytes], plan: IntakePlan, *, now: datetime) -> bytes | None:
    """The body for lines of traces, each with its end; None where they have to travel as they are.

    They do where the plan says so, and where the counts would take more room than they do.

    Raises:
        UnknownWindow: which rows are kept follows windows that the plan says nothing of.
    """
    if plan.why_rows or len(lines) < LEAST_ROWS:
        return None
    try:
        received = read(b"".join(lines), LINES)
        found = validate(
            received.rows, plan.schema, oldest=plan.oldest, latest=now + plan.ahead, version=plan.serving
        )  # fmt: skip
    except HoldfastError:  # no row could be good, or there are too many: the server says what to do
        return None
    good, at = found.good, np.asarray(received.positions)[found.positions]
    cut = list(parts(good, plan.tick))
    if len(good) < LEAST_ROWS * len(cut):
        return None
    chances = probabilities(good, plan.sampling, plan.schema, width=plan.width, usual=plan.before)
    kept, _ = keep(keys_of(good.trace_id.to_pylist()), chances)
    head = {"stamp": plan.stamp, "sample": int(kept.sum()), "parts": [_part(*part, plan) for part in cut]}
    refused = np.setdiff1d(np.arange(len(lines)), at)
    return _line(head) + b"".join(lines[i] for i in [*at[kept], *refused])


def _part(version: str, bucket: datetime, rows: Batch, plan: IntakePlan) -> dict[str, Any]:
    binning = plan.binning_of(version)
    offsets = (rows.event_time - np.datetime64(bucket.replace(tzinfo=None), "us")).astype(np.int64)
    return {
        "version": version,
        "bucket": bucket.isoformat(),
        "binning_id": binning.binning_id,
        "ids": rows.trace_id.to_pylist(),
        "times": np.diff(offsets, prepend=0).tolist(),
        "counts": base64.b64encode(Profile.of(rows, binning).to_bytes()).decode(),
    }


def _line(head: dict[str, Any]) -> bytes:
    return json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
