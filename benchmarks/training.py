"""What hardened training buys and costs: clean, attacked and disturbed rows by method, on three real tables.

`python -m benchmarks.training [--quick]`. Every method is a recipe of the product on the same random split; rows are
attacked by the nightly plan. Time is processor time of training on one thread, without the attack on held-out rows
that early stopping reads, which is told apart. The other half judges degenerate candidates by the gates.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.attack_cost.worlds import DataMissing, data_folder
from benchmarks.output import report
from benchmarks.training_cost import degenerate
from benchmarks.training_cost.goals import goals_of, summary
from benchmarks.training_cost.measure import METHODS, NIGHTLY, SHORT, Scale, measure
from benchmarks.training_cost.tables import NAMES

SEEDS = (1000, 1001, 1002)
ATTACKED = 600
DEGENERATE_RUNS = 1_000
_QUICK_RUNS = 8
_QUICK_METHODS = ("standard", "noise", "hardened", "pgd")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one table, one seed, a short attack: within 60 s")
    parser.add_argument("--tables", default=",".join(NAMES), help="some of the tables, by comma")
    parser.add_argument("--methods", default=",".join(METHODS), help="some of the methods, by comma")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="random splits; tune below 1000 only")
    parser.add_argument("--rows", type=int, default=ATTACKED, help="rows attacked of each split")
    parser.add_argument("--degenerate", type=int, default=DEGENERATE_RUNS, help="random runs of degenerate candidates")
    options = parser.parse_args()
    try:
        data_folder()
    except DataMissing as error:
        sys.exit(str(error))
    torch.set_num_threads(1)
    scale = _scale(options)
    print(f"{scale.attacked} rows of each split are attacked by the {scale.plan.name} plan")
    rows = measure(scale)
    show(summary(rows))
    figures: dict[str, Any] = {"rows": rows, "summary": summary(rows), "attacked rows": scale.attacked}
    goals = goals_of(rows) if rows else []
    if runs := min(options.degenerate, _QUICK_RUNS) if options.quick else options.degenerate:
        figures["degenerate"] = degenerate.figures(runs, seed=SEEDS[0])
        goals += degenerate.goals(figures["degenerate"])
    report("training", figures, goals=goals, shown={})


def _scale(options: argparse.Namespace) -> Scale:
    if options.quick:
        return Scale(
            seeds=SEEDS[:1], tables=NAMES[:1], methods=_QUICK_METHODS, attacked=256, plan=SHORT, trained_on=6_000
        )
    return Scale(
        seeds=[int(seed) for seed in options.seeds.split(",")],
        tables=[name for name in options.tables.split(",") if name],
        methods=options.methods.split(","),
        attacked=options.rows,
        plan=NIGHTLY,
    )


def show(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """A table for people: points, the mean over the seeds."""
    for table, by in found.items():
        first = next(iter(by.values()))
        columns = [column for column in first if column != "seeds"]
        print(f"\n{table}, mean of {first['seeds']:.0f} splits\n{'':<10}" + "".join(f"{c:>12.12}" for c in columns))
        for method, row in by.items():
            print(f"{method:<10}" + "".join(f"{row[column]:12.2f}" for column in columns if column in row))
    print()


if __name__ == "__main__":
    main()
