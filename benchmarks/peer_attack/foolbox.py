"""Foolbox' LinfPGD: cross-entropy, from a random start, steps of its default 1/30 of ε at 40 steps."""

import foolbox
import numpy as np
import torch

from benchmarks.peer_attack.exchange import Counted, Question, serve


def pgd(asked: Question, model: Counted) -> np.ndarray:
    case = asked.case
    wrapped = foolbox.PyTorchModel(model.eval(), bounds=(case.lower, case.upper), device="cpu")
    rows, labels = torch.from_numpy(case.x.astype(np.float32)), torch.from_numpy(case.y.astype(np.int64))
    attack = foolbox.attacks.LinfPGD(steps=asked.steps)
    _, clipped, _ = attack(wrapped, rows, labels, epsilons=asked.epsilon)
    return clipped.detach().numpy()


if __name__ == "__main__":
    serve("Foolbox", foolbox.__version__, {"LinfPGD": pgd})
