"""What one window costs the whole loop: intake of its rows, then quality, drift and performance with their verdict.

python -m benchmarks.replay [--quick]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.output import report
from benchmarks.server import server
from monitor.cli.actor import COMMAND_LINE
from monitor.cli.backtest import CHECKS, model_settings
from monitor.cli.enroll import Enrolment, enroll
from monitor.cli.history import History, understand
from monitor.cli.processes import make_tools
from monitor.db.engine import database_now, transaction
from monitor.db.registry import model_named
from monitor.db.scratch import scratch_database
from monitor.intake.columns import Columns
from monitor.intake.ingest import advance_watermark, ingest
from monitor.intake.labels import ingest_labels
from monitor.jobs.context import Tools
from monitor.jobs.worker import drain
from monitor.settings import Settings

FEATURES = 20
REFERENCE_DAYS = 28
MODEL = "replay"


def made_history(days: int, rows: int, seed: int) -> History:
    """A steady log of numeric features and one category, with scores and immediate labels."""
    rng = np.random.default_rng(seed)
    n = days * rows
    frame = pd.DataFrame({f"x{j}": rng.normal(size=n) for j in range(FEATURES - 1)})
    frame["channel"] = rng.choice(["app", "web", "pos"], n)
    frame["time"] = pd.Timestamp("2026-01-05", tz="UTC") + pd.to_timedelta(
        np.repeat(np.arange(days), rows) + rng.random(n), unit="D"
    )
    frame["score"] = 1 / (1 + np.exp(-2 * frame["x0"]))
    frame["y"] = (rng.random(n) < frame["score"]).astype(int)
    until = f"{pd.Timestamp('2026-01-05') + pd.Timedelta(days=REFERENCE_DAYS):%Y-%m-%d}"
    columns = Columns(time=("time",), target="y", score="score")
    return understand(frame, columns, name=MODEL, window="1d", reference_until=until)


def replay(history: History, tools: Tools) -> tuple[float, float]:
    """Seconds of intake, and of checks, over the monitored windows."""
    enrolment = Enrolment(
        name=MODEL,
        owner="benchmark",
        task=history.task,
        schema=history.schema,
        settings=model_settings(history, policy=False),
        windows=[(tick, history.within(tick)) for tick in history.reference_ticks],
        judged=history.within(history.reference),
    )
    with transaction(tools.engine) as session:
        enroll(session, enrolment, by=COMMAND_LINE, now=database_now(session))
    taking, checking = 0.0, 0.0
    for window in history.monitored_windows:
        rows = history.within(window)
        started = time.perf_counter()
        with transaction(tools.engine) as session:
            model = model_named(session, MODEL)
            ingest(session, model, rows.drop(columns=["label", "label_time"]), source="benchmark")
            ingest_labels(session, model, rows[["trace_id", "event_time", "label", "label_time"]])
            advance_watermark(session, model, window.end)
        taken = time.perf_counter()
        drain(tools, kinds=CHECKS)
        taking, checking = taking + taken - started, checking + time.perf_counter() - taken
    return taking, checking


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer windows")
    parser.add_argument("--peers", action="store_true", help="there are none for this question")
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    windows, rows = (10, 1_000) if options.quick else (60, 1_000)
    history = made_history(REFERENCE_DAYS + windows, rows, options.seed)
    with server() as running, scratch_database(running) as url, tempfile.TemporaryDirectory() as folder:
        tools = make_tools(Settings.load().model_copy(update={"home": Path(folder)}), url, children=False)
        taking, checking = replay(history, tools)
        tools.engine.dispose()
    done = len(history.monitored_windows)
    report(
        "replay",
        {
            "windows": done,
            "rows_per_window": rows,
            "features": FEATURES,
            "intake_rows_per_second": done * rows / taking,
            "checks_ms_per_window": 1_000 * checking / done,
        },
    )


if __name__ == "__main__":
    main()
