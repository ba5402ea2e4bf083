"""Training of predictors on raw rows: robust preprocessing, noise, one-step attacks, provenance.

Set torch's threads where you call from (`torch.set_num_threads(1)` in a worker): nothing here changes them.
"""

from monitor.training.curriculum import RECIPES, Recipe
from monitor.training.networks import FACTORIES, TABULAR, Predictor, build, factory
from monitor.training.preprocess import Preprocess
from monitor.training.provenance import Provenance, weights_bytes, weights_sha256
from monitor.training.trainer import Cancelled, Progress, Trained, train

__all__ = [
    "FACTORIES",
    "RECIPES",
    "TABULAR",
    "Cancelled",
    "Predictor",
    "Preprocess",
    "Progress",
    "Provenance",
    "Recipe",
    "Trained",
    "build",
    "factory",
    "train",
    "weights_bytes",
    "weights_sha256",
]
