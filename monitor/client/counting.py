"""Counting rows where they are logged: what the server says of the model, and batches as counts and a sample.

Counting needs NumPy and Arrow. They are imported in the courier's thread, and only where somebody asked for it; where
they are not there, and whenever something is in the way, rows travel as they are.
"""

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from monitor.client.answers import Verdict
from monitor.client.counters import Notices
from monitor.client.lines import Row, trace_line
from monitor.client.transport import Transport, Unreachable

if TYPE_CHECKING:
    from monitor.intake.plan import IntakePlan

_IMPORTING = threading.RLock()  # a process that forks in the middle of an import leaves half of it to its child
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_IMPORTING.acquire, after_in_parent=_IMPORTING.release, after_in_child=_IMPORTING.release
    )
_NEWS_SECONDS = 300.0  # after which the server is asked whether the plan still holds; one that does not is told at once
_AGAIN_SECONDS = 15.0
_ROWS = "rows travel as they are"


@dataclass(kw_only=True)
class Counting:
    """The plan of a model, and the bodies that are made by it. Used from one thread; others may read `plan`."""

    model_path: str
    token: str
    transport: Transport
    clock: Any  # monitor.client.courier.Clock
    notices: Notices
    timeout_seconds: float
    profiles: bool  # else the plan is kept for checks alone
    plan: "IntakePlan | None" = None

    def __post_init__(self) -> None:
        self._ask_at: float | None = self.clock.monotonic()  # None: never again
        self._asked_at = 0.0
        self._tag = ""  # of the plan, as the server calls it

    def keep_up(self, now: float) -> None:
        """Ask for the plan when it is time to."""
        if self._ask_at is None or now < self._ask_at:
            return
        self._ask_at, self._asked_at = now + _AGAIN_SECONDS, now
        try:
            self._ask(now)
        except Unreachable:
            return
        except ImportError as error:
            self._ask_at = None
            need = "`pip install 'holdfast[profiles]'`"
            self.notices.once("profiles", f"counting and checking rows needs {need} ({error}): {_ROWS}")
        except Exception as error:  # a plan of a newer server, a transport that only sends
            sentence = f"the server's plan cannot be used ({type(error).__name__}: {error}): {_ROWS}"
            self.notices.once("profiles", sentence[:400])

    def body_of(self, lines: Sequence[bytes]) -> bytes | None:
        """Lines of traces as counts and a sample; None where they have to travel as they are."""
        if not self.profiles or self.plan is None or self.plan.why_rows:
            return None
        from monitor.intake.plan import UnknownWindow
        from monitor.intake.write_counts import write_counts

        try:
            return write_counts(lines, self.plan, now=datetime.fromtimestamp(self.clock.time(), UTC))
        except UnknownWindow:  # it began after the plan was read
            self._ask_at = self._asked_at + _AGAIN_SECONDS
        except Exception as error:  # whatever a row holds, it gets to the server
            self.notices.once("counting", f"a batch cannot be counted ({type(error).__name__}): {_ROWS}")
        return None

    def against(self, row: Row) -> tuple[str, ...]:
        """What speaks against a row that could be logged, each reason a sentence; none without a plan."""
        if (plan := self.plan) is None:
            return ()
        try:
            from monitor.intake.checking import reasons_against

            return reasons_against(trace_line(*row), plan, now=datetime.fromtimestamp(self.clock.time(), UTC))
        except Exception as error:  # a value that nothing can be made of
            return (f"expected a mapping of features to values ({type(error).__name__})",)

    def declined(self, verdict: Verdict) -> None:
        """The server did not take a batch's counts."""
        if verdict.problem == "stale-plan":
            self._ask_at = self.clock.monotonic()
        elif verdict.problem != "rows-wanted":
            self.notices.once("declined", f"the server does not take counts, {_ROWS}: {verdict.sentence}")

    def _ask(self, now: float) -> None:
        headers = {"Authorization": f"Bearer {self.token}", "User-Agent": "holdfast-client"}
        if self.plan is not None and self._tag:
            headers["If-None-Match"] = self._tag
        answer = self.transport.fetch(f"{self.model_path}/intake", headers, self.timeout_seconds)
        if answer.status not in (200, 304, 404):
            return
        self._ask_at = now + _NEWS_SECONDS
        if answer.status == 404:  # an older server, or no such model, which the rows will tell
            self.plan = None
            self.notices.once("profiles", f"the server has no plan to count by: {_ROWS}")
        elif answer.status == 200:
            with _IMPORTING:
                from monitor.intake import checking, write_counts  # noqa: F401 - so that no caller waits for the import
                from monitor.intake.plan import IntakePlan

            self.plan, self._tag = IntakePlan.from_document(json.loads(answer.body)), answer.headers.get("etag", "")
            if self.profiles and self.plan.why_rows:
                self.notices.once(self.plan.why_rows, f"{_ROWS}: {self.plan.why_rows}")
