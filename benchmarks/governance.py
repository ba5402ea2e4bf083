"""Can anything be promoted that may not be? Every way of six steps, random walks of acts, and raw SQL.

`--quick` takes fewer of the random ones. The oracle that judges (`tests/oracle.py`) reads rows alone.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from benchmarks.output import Goal, report
from monitor.acts.promotion import rollback
from monitor.db import embedded
from monitor.db.engine import make_engine, sessions, transaction
from monitor.db.grants import grant_application
from monitor.db.registry import model_named
from monitor.db.scratch import scratch_database
from tests.governed import NOW, OMAR, govern
from tests.integration.test_application_role import fuzz, prepare
from tests.integration.test_loop_explored import STEPS, Explorer
from tests.integration.test_rollback import promoted
from tests.loop import Walked, begin, walk_at_random
from tests.oracle import illegal_promotions

SEQUENCES, QUICK = 100_000, 200
TIERS = ((1, False), (2, False), (3, False), (2, True))
FUZZ_STEPS = 12
LOT = 500


def main() -> None:
    """Print what was tried and what was allowed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="200 sequences instead of 100,000")
    options.add_argument("--sequences", type=int, help="how many random sequences of each kind")
    options.add_argument(
        "--first-seed", type=int, default=1_000, help="of the walks; their sum counts over several runs"
    )
    options.add_argument("--only", choices=["explored", "walked", "raw", "rollback"])
    given = options.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sequences = given.sequences or (QUICK if given.quick else SEQUENCES)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="holdfast-governance-") as home:
        server = embedded.start(Path(home), durable=False)
        try:
            for name, part in PARTS.items():
                if given.only in (None, name):
                    found |= part(server, sequences, given.first_seed)
        finally:
            embedded.stop(Path(home))
    report("governance", found, goals=_goals(found))


def explored(server: str, _: int, __: int) -> dict[str, Any]:
    """Every way of three people and six steps at each tier; ways that meet in one state go on once."""
    figures: dict[str, Any] = {}
    for tier, solo in TIERS:
        with _begun(server, tier, solo) as session:
            explorer = Explorer(session)
            explorer.explore(STEPS)
        name = f"explored, tier {tier}{', team of one' if solo else ''}"
        figures[f"{name}: acts tried"] = explorer.tried
        figures[f"{name}: states"] = len(explorer.left)
        figures[f"{name}: promotions"] = explorer.promotions
    return figures | {"explored: illegal promotions": 0}  # the explorer stops at the first


def walked(server: str, sequences: int, first_seed: int) -> dict[str, Any]:
    """Random sequences of acts, drawn by Hypothesis: lots of some hundreds at each tier in turn, each of its own seed.

    Ctrl-C or SIGTERM ends it early; what was tried until then is reported.
    """
    met, lots = Walked(), 0
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        places = [stack.enter_context(_begun(server, tier, solo)) for tier, solo in TIERS]
        while met.walks < sequences:
            least = min(LOT, sequences - met.walks)
            walk_at_random(places[lots % len(TIERS)], met, walks=least, seed=first_seed + lots)
            lots += 1
            print(f"{met.walks:,} walks, {met.promotions:,} promotions", file=sys.stderr, flush=True)
    return {
        "walked: sequences": met.walks, "walked: acts tried": met.tried, "walked: allowed": met.allowed,
        "walked: promotions": met.promotions, "walked: rollbacks": met.rollbacks, "walked: illegal promotions": 0,
    }  # fmt: skip


@contextmanager
def _begun(server: str, tier: int, solo: bool) -> Iterator[Session]:
    with database(server) as engine, sessions(engine)() as session:
        begin(session, tier=tier, solo=solo)
        session.commit()
        yield session


def raw(server: str, sequences: int, _: int) -> dict[str, Any]:
    """Random sequences of raw SQL under the application's role."""
    role = f"fuzzed_{os.getpid()}"
    with database(server) as engine:
        url = engine.url.render_as_string(hide_password=False)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        grant_application(url, role)
        prepare(engine, role)
        fuzz(url, role, sequences=sequences, steps=FUZZ_STEPS, seed=0.2)
        with sessions(engine)() as session:
            sums = "SELECT sum(allowed) AS allowed, sum(refused) AS refused FROM fuzz.tally"
            tally = session.execute(text(sums)).one()
            served = "SELECT count(*) FROM proposals WHERE state IN ('promoted', 'observing', 'confirmed')"
            return {
                "raw SQL: sequences": sequences,
                "raw SQL: transactions allowed": int(tally.allowed),
                "raw SQL: transactions refused": int(tally.refused),
                "raw SQL: lawful promotions": session.scalar(text(served)),
                "raw SQL: illegal promotions": len(illegal_promotions(session.connection())),
            }


def rolled_back(server: str, _: int, __: int) -> dict[str, Any]:
    """Seconds of a rollback, no worker running, its transaction committed."""
    with database(server) as engine:
        with transaction(engine) as session:
            promoted(session, govern(session))
        began = time.perf_counter()
        with transaction(engine) as session:
            _undo(session)
        return {"rollback: seconds without a worker": time.perf_counter() - began}


def _undo(session: Session) -> None:
    rollback(session, model_named(session, "fraud"), by=OMAR, reason="worse", now=NOW)


@contextmanager
def database(server: str) -> Iterator[Engine]:
    """An empty, migrated database."""
    with scratch_database(server) as url:
        engine = make_engine(url)
        try:
            yield engine
        finally:
            engine.dispose()


def _goals(found: dict[str, Any]) -> list[Goal]:
    illegal = [found[name] for name in found if name.endswith("illegal promotions")]
    goals = [Goal(name="illegal promotions", target="0", value=float(sum(illegal)), met=not any(illegal))]
    if "rollback: seconds without a worker" in found:
        seconds = found["rollback: seconds without a worker"]
        goals.append(Goal(name="rollback while workers are stopped", target="<= 5 s", value=seconds, met=seconds <= 5))
    return goals


PARTS = {"explored": explored, "walked": walked, "raw": raw, "rollback": rolled_back}

if __name__ == "__main__":
    main()
