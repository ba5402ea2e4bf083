"""How fast rows come in: durable, de-duplicated and counted, by each way in, beside raw COPY into the same table.

python -m benchmarks.intake [--quick] [--only rows|overload] [--rows N]

`rows`: 20 features (fifteen numbers with 1 % missing, five categories), a model with a reference, one PostgreSQL that
syncs at COMMIT. Raw COPY is what `direct` ends in: the same encoded rows by binary COPY into the model's table on one
connection, a COMMIT a batch, without ledger, profile or check. It runs before and after each way, on the emptied
table, and the ratio is to the mean of the two. Over HTTP four callers keep one connection each to a process of its own
(`holdfast api`); what they send was made before.

`overload`: batches of 200 rows as JSON for some seconds, at five times the rate at which four callers just had them
stored, sent at their time whatever the answers are. What was acknowledged is looked up afterwards; the time of refusals
and the process's memory are told.
"""

import argparse

from benchmarks.intake_cost.place import place
from benchmarks.intake_cost.storm import overload
from benchmarks.intake_cost.ways import rows_a_second
from benchmarks.output import Goal, report

GOALS = {"direct": 0.5, "http arrow": 0.35, "http json": 0.2, "http lines": 0.2}


def _goals(found: dict[str, float]) -> list[Goal]:
    goals = [
        Goal(
            name=f"{way} over raw COPY, {rows:,} rows a batch", target=f">= {least:g}", value=value, met=value >= least
        )
        for way, least in GOALS.items()
        for rows in (1_000, 5_000)
        if (value := found.get(f"{way}, {rows:,} rows a batch: ratio")) is not None
    ]
    if "overload: refusals" in found:
        lost, slow = found["overload: acknowledged and not stored"], found["overload: refusals, ms, p99"]
        growth = found["overload: memory growth, %"]
        goals += [
            Goal(name="acknowledged and lost under overload", target="0", value=lost, met=lost == 0),
            Goal(name="refusals p99, ms", target="< 50", value=slow, met=slow < 50),
            Goal(name="memory growth under overload, %", target="< 10", value=growth, met=growth < 10),
        ]
    return goals


def main() -> None:
    """Print rows a second by way in and batch size, and what an overload does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="within 60 s")
    parser.add_argument("--only", choices=["rows", "overload"])
    parser.add_argument("--rows", type=int, default=100_000, help="rows by each way and batch size")
    options = parser.parse_args()
    found: dict[str, float] = {}
    with place() as where:
        if options.only in (None, "rows"):
            found |= rows_a_second(where, 20_000 if options.quick else options.rows)
        if options.only in (None, "overload"):
            found |= overload(where, 5.0 if options.quick else 20.0)
    report("intake", found, goals=_goals(found))


if __name__ == "__main__":
    main()
