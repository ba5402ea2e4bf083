"""Robust accuracy and time of our attacks, beside ART, Foolbox, torchattacks, AutoAttack and MOEVA, and the floor.

python -m benchmarks.attack [--quick] [--peers] [--only accuracy,speed,…]

Six small models on credit defaults, hotel bookings and digits, four ε, three seeds; the peers know plain boxes only, so
the comparison is on plain boxes of network inputs. Peers and ours take turns in one run, each on one thread. Rows of
both are scored again outside the attack, in float64, and an infeasible row counts as unbroken.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from benchmarks.attack_cost import accuracy, audit, campaigns, constrained, exactness, speed
from benchmarks.attack_cost.goals import goals_of
from benchmarks.attack_cost.models import RECIPES
from benchmarks.attack_cost.peers import Peer, running
from benchmarks.attack_cost.tables import show
from benchmarks.attack_cost.worlds import DataMissing, data_folder
from benchmarks.output import report

SEEDS = (1000, 1001, 1002)
PEERS = ("art", "foolbox", "torchattacks", "autoattack", "moeva")
TRAP = 1_000.0


class Run:
    """One run of the benchmark: the models are trained once, and every section takes what it needs."""

    def __init__(self, *, quick: bool, up: Mapping[str, Peer], folder: Path) -> None:
        self.quick, self.up, self.folder = quick, up, folder
        self.subjects = accuracy.subjects(SEEDS[:1] if quick else SEEDS, RECIPES)
        self.first = [subject for subject in self.subjects if subject.seed == SEEDS[0]]
        self.standard = [subject for subject in self.first if subject.recipe.kind == "standard"]

    def accuracy(self) -> dict[str, Any]:
        """All models, and the trap of confident logits on a model of two classes."""
        cells = accuracy.grid(self.subjects, self.up, self.folder, epsilons=slice(1, 3) if self.quick else slice(None))
        trap = accuracy.grid(
            [self.standard[0], accuracy.confident(self.standard[0], TRAP)], self.up, self.folder, epsilons=slice(2, 3)
        )
        return accuracy.figures(cells) | {"scale trap": accuracy.figures(trap)["robust accuracy"]}

    def speed(self) -> dict[str, Any]:
        chosen, turns = (self.standard[:1], 2) if self.quick else (self.standard, speed.TURNS)
        return speed.figures({s.recipe.name: speed.measure(s, self.up, self.folder, turns=turns) for s in chosen})

    def exactness(self) -> dict[str, Any]:
        return exactness.figures(self.first, quick=self.quick)

    def constrained(self) -> dict[str, Any]:
        rows, turns = (5, 1) if self.quick else (40, 3)
        return constrained.compare(SEEDS[0], self.up, self.folder, rows=rows, turns=turns)

    def campaigns(self) -> dict[str, Any]:
        names, shapes, turns = (("credit",), campaigns.SHAPES[:1], 1) if self.quick else (None, campaigns.SHAPES, 3)
        models = campaigns.fitted(names or ("credit", "hotel"), tuple(campaigns.JUDGED), shapes, SEEDS[0])
        return campaigns.figures(models, turns=turns)

    def audit(self) -> dict[str, Any]:
        return audit.figures(self.standard[0], [subject.world for subject in self.standard], quick=self.quick)


SECTIONS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "accuracy": Run.accuracy,
    "speed": Run.speed,
    "exactness": Run.exactness,
    "constrained": Run.constrained,
    "campaigns": Run.campaigns,
    "audit": Run.audit,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, two ε, the smaller models: within 60 s")
    parser.add_argument("--peers", action="store_true", help="also the peers (make peers)")
    parser.add_argument("--only", default=",".join(SECTIONS), help="some of the sections, by comma")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := sorted(set(chosen) - set(SECTIONS)):
        parser.error(f"expected sections among {', '.join(SECTIONS)}, got {', '.join(unknown)}")
    try:
        data_folder()
    except DataMissing as error:
        sys.exit(str(error))
    torch.set_num_threads(1)
    peers = running(PEERS) if options.peers else nullcontext({})
    with tempfile.TemporaryDirectory(prefix="holdfast-attack-") as folder, peers as up:
        run = Run(quick=options.quick, up=up, folder=Path(folder))
        figures = {name: SECTIONS[name](run) for name in chosen}
        versions = {peer.name: peer.version for peer in up.values()}
    show(figures)
    report("attack", figures, goals=goals_of(figures), peers=versions, shown={})


if __name__ == "__main__":
    main()
