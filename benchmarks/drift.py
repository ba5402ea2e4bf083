"""What one window costs, from raw rows and from stored profiles: time and memory, beside the peers on the same files.

python -m benchmarks.drift [--quick] [--peers]

Every measurement runs in a process of its own; imports and the reading of the files are not in its time. Ours and the
peers' runs take turns, and a ratio is the median over the turns of one pair of runs after the other. Processor time is
told besides, since other work on the machine stretches the other. The exact scores of 1M × 200 are left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.drift_cost import frames
from benchmarks.output import Goal, report
from benchmarks.peers import FOLDER as PEERS_FOLDER

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 1_800
PEERS = ("evidently", "nannyml")
COLD = ("verdict", "exact", "detector")
OURS = (*COLD, "from_profiles")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One size, what is measured on it, and how many turns."""

    rows: int
    columns: int
    ours: tuple[str, ...] = OURS
    peers: tuple[str, ...] = PEERS
    turns: int = 3

    @property
    def label(self) -> str:
        return f"{self.rows}x{self.columns}"


QUICK = (Case(rows=10_000, columns=20, turns=1), Case(rows=100_000, columns=20, turns=1, peers=("nannyml",)))
FULL = (
    Case(rows=10_000, columns=20),
    Case(rows=100_000, columns=20),
    Case(rows=1_000_000, columns=20, turns=1),
    Case(rows=10_000, columns=200, peers=()),
    Case(rows=100_000, columns=200, peers=()),
    Case(rows=1_000_000, columns=200, ours=("verdict", "from_profiles"), peers=(), turns=1),
)

Runs = dict[str, list[dict[str, Any]]]


def measure(task: str, folder: Path) -> dict[str, Any]:
    """Run one task, ours or a peer's, in a process of its own, and read the JSON that it prints last."""
    python, module = sys.executable, "ours"
    if task in PEERS:
        python, module = str(PEERS_FOLDER / task / "bin" / "python"), "theirs"
    done = subprocess.run(
        [python, "-m", f"benchmarks.drift_cost.{module}", task, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT,
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{task} on {folder.name}: {done.stderr.strip()[-500:]}")
    measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    wall, peak = measured["wall_s"], measured["peak_mib"]
    print(f"{folder.name:>12}  {task:<14} {wall:9.3f} s  {peak:8.0f} MiB", file=sys.stderr)
    return measured


def run_case(case: Case, folder: Path, *, peers: bool, seed: int) -> Runs:
    """All tasks of a case, in turns."""
    frames.make(folder, rows=case.rows, columns=case.columns, seed=seed)
    tasks = [*case.ours, *(case.peers if peers else ())]
    if case.columns == 20 and case.rows >= 100_000:
        tasks += ["profile", *(["scipy_loop"] if case.rows >= 1_000_000 else [])]
    runs: Runs = defaultdict(list)
    for _ in range(case.turns):
        for task in tasks:
            runs[task].append(measure(task, folder))
    return runs


def middle(runs: Runs, task: str, key: str) -> float:
    return float(median(run[key] for run in runs[task]))


def ratio(runs: Runs, slow: str, fast: str, key: str = "wall_s") -> float:
    """How many times longer `slow` took, the median over the turns."""
    return float(median(s[key] / f[key] for s, f in zip(runs[slow], runs[fast], strict=True)))


def figures_of(label: str, runs: Runs) -> dict[str, float]:
    found = {}
    for task in (task for task in runs if task not in PEERS):
        if task == "from_profiles":
            found[f"{label} from_profiles ms"] = 1_000 * middle(runs, task, "window_s")
        elif task == "profile":
            keys = [key for key in runs[task][0] if key.startswith("ns_") or key == "merge_us"]
            found |= {f"{label} {key}": middle(runs, task, key) for key in keys}
        else:
            found |= {
                f"{label} {task} s": middle(runs, task, "wall_s"),
                f"{label} {task} cpu_s": middle(runs, task, "cpu_s"),
                f"{label} {task} MiB": middle(runs, task, "peak_mib"),
            }
    return found


def peers_of(runs: Runs) -> dict[str, dict[str, float]]:
    """What each peer took, and how many times longer than our verdict and than our exact scores."""
    return {
        peer: {
            **{key: middle(runs, peer, key) for key in ("wall_s", "cpu_s", "peak_mib", "import_s")},
            **{f"times_{ours}": ratio(runs, peer, ours) for ours in COLD},
            **{f"times_cpu_{ours}": ratio(runs, peer, ours, "cpu_s") for ours in COLD},
        }
        for peer in PEERS
        if peer in runs
    }


def goals_of(cases: dict[str, Runs]) -> list[Goal]:
    """The goals that these runs can judge."""
    goals = []
    large = cases.get("1000000x20", {})
    if "evidently" in large:
        for task, least in (("verdict", 100), ("exact", 10)):
            value = ratio(large, "evidently", task)
            name = f"{task} at 1M × 20, times faster than Evidently's DataDriftPreset"
            goals.append(Goal(name=name, target=f"≥ {least}", value=value, met=value >= least))
    twenty = [runs for label, runs in cases.items() if label.endswith("x20")]
    smallest, largest = (middle(runs, "from_profiles", "window_s") for runs in (twenty[0], twenty[-1]))
    name = "from profiles, time at the most rows over the fewest"
    goals.append(Goal(name=name, target="≤ 1.2", value=largest / smallest, met=largest / smallest <= 1.2))
    for rows, most in ((1_000, 30), (100_000, 6)):
        key = f"ns_a_value_{rows}"
        value = min(middle(runs, "profile", key) for runs in twenty if "profile" in runs)
        name = f"profile of {rows:,}-row batches, ns a value"
        goals.append(Goal(name=name, target=f"≤ {most}", value=value, met=value <= most))
    return goals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10k and 100k rows × 20, one turn; Evidently at 10k")
    parser.add_argument("--peers", action="store_true", help="also Evidently and NannyML (make peers)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    missing = [peer for peer in PEERS if options.peers and not (PEERS_FOLDER / peer / ".installed").exists()]
    if missing:
        sys.exit(f"expected the peers {', '.join(missing)}: run make peers ARGS='{' '.join(missing)}' first")
    cases: dict[str, Runs] = {}
    for case in QUICK if options.quick else FULL:
        with tempfile.TemporaryDirectory() as made:
            cases[case.label] = run_case(case, Path(made) / case.label, peers=options.peers, seed=options.seed)
    figures: dict[str, Any] = {}
    for label, runs in cases.items():
        figures |= figures_of(label, runs)
    peers = {label: peers_of(runs) for label, runs in cases.items() if peers_of(runs)}
    report("drift", figures, goals=goals_of(cases), peers=peers)


if __name__ == "__main__":
    main()
