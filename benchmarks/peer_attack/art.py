"""ART's PGD: 40 steps from one random start, steps of 2.5 ε / 40 (Madry), all rows at once or its default 32."""

import art
import numpy as np
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from torch import nn

from benchmarks.peer_attack.exchange import Counted, Question, serve


def pgd(asked: Question, model: Counted) -> np.ndarray:
    case = asked.case
    classifier = PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        input_shape=case.x.shape[1:],
        nb_classes=int(case.y.max()) + 1,
        clip_values=(case.lower, case.upper),
        device_type="cpu",
    )
    attack = ProjectedGradientDescent(
        classifier,
        norm=np.inf,
        eps=asked.epsilon,
        eps_step=2.5 * asked.epsilon / asked.steps,
        max_iter=asked.steps,
        num_random_init=1,
        batch_size=asked.batch_size,
        verbose=False,
    )
    return attack.generate(case.x.astype(np.float32), case.y.astype(np.int64))


if __name__ == "__main__":
    serve("ART", art.__version__, {"PGD": pgd})
