"""torchattacks' APGD on cross-entropy and on the difference of logits ratio, which needs three classes.

It takes pictures in [0, 1]: rows come as pictures one pixel high (`shim`). A step more than gradients less one.
"""

import numpy as np
import torch
import torchattacks

from benchmarks.peer_attack.exchange import Counted, Question, serve
from benchmarks.peer_attack.shim import Unit


def apgd(asked: Question, model: Counted, loss: str) -> np.ndarray:
    unit = Unit(model, asked.case)
    pictures = unit.rows(asked.case.x)[:, None, None, :]
    attack = torchattacks.APGD(
        unit, norm="Linf", eps=asked.epsilon / unit.width, steps=asked.steps - 1, seed=asked.seed, loss=loss
    )
    attack.set_device("cpu")
    return unit.raw(attack(pictures, torch.from_numpy(asked.case.y.astype(np.int64))))


if __name__ == "__main__":
    version = getattr(torchattacks, "__version__", "3.5.1")
    serve(
        "torchattacks",
        version,
        {
            "APGD-CE": lambda asked, model: apgd(asked, model, "ce"),
            "APGD-DLR": lambda asked, model: apgd(asked, model, "dlr"),
        },
    )
