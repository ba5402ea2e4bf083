"""Training of predictors on raw rows: robust preprocessing, noise, attacks, a ladder of recipes, provenance.

Set torch's threads where you call from (`torch.set_num_threads(1)` in a worker): nothing here changes them.
"""

from monitor.training.candidates import Candidates, Step, train_candidates
from monitor.training.curriculum import RECIPES, Recipe
from monitor.training.families import family_weights
from monitor.training.leaks import Leak, suspected_leaks
from monitor.training.model_card import model_card
from monitor.training.networks import FACTORIES, TABULAR, Predictor, build, factory
from monitor.training.preprocess import Preprocess
from monitor.training.provenance import Provenance, weights_bytes, weights_sha256
from monitor.training.trainer import Cancelled, Progress, Trained, train

__all__ = [
    "FACTORIES",
    "RECIPES",
    "TABULAR",
    "Cancelled",
    "Candidates",
    "Leak",
    "Predictor",
    "Preprocess",
    "Progress",
    "Provenance",
    "Recipe",
    "Step",
    "Trained",
    "build",
    "factory",
    "family_weights",
    "model_card",
    "suspected_leaks",
    "train",
    "train_candidates",
    "weights_bytes",
    "weights_sha256",
]
