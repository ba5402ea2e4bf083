"""AutoAttack's APGD on cross-entropy: its first and main attack, run alone, by the authors' own class.

The package `pyautoattack` holds the authors' `autopgd_base.py` unchanged but for imports and blank lines.
"""

from importlib.metadata import version

import numpy as np
import torch
from pyautoattack.autopgd_base import APGDAttack

from benchmarks.peer_attack.exchange import Counted, Question, serve
from benchmarks.peer_attack.shim import Unit


def apgd(asked: Question, model: Counted) -> np.ndarray:
    unit = Unit(model, asked.case)
    attack = APGDAttack(
        unit, n_iter=asked.steps - 1, norm="Linf", eps=asked.epsilon / unit.width, seed=asked.seed, loss="ce"
    )
    labels = torch.from_numpy(asked.case.y.astype(np.int64))
    return unit.raw(attack.perturb(unit.rows(asked.case.x), labels))


if __name__ == "__main__":
    serve("AutoAttack", version("pyautoattack"), {"APGD-CE": apgd})
