"""From a manifest to a model that scores encoded rows. Hashes are checked first, and no file can run its own code."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import safetensors.torch
from numpy.typing import NDArray
from scipy.special import expit, softmax
from torch import nn

from monitor.artifacts import estimator, sniff
from monitor.artifacts.manifest import Flavour, Manifest
from monitor.artifacts.store import Store
from monitor.errors import BadInput, UnsafeArtefact
from monitor.robustness.target import Model, Target, Task
from monitor.schema import FloatArray, Schema
from monitor.training.networks import FACTORIES, Factory, factory

Score = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A model that scores rows (n, d) as `schema.encode` gives. `module` is None for a black box."""

    manifest: Manifest
    schema: Schema
    module: nn.Module | None
    score: Score

    @property
    def task(self) -> Task:
        return self.manifest.task

    @property
    def under_attack(self) -> Model:
        """What `run_campaign` takes: the module where there is one, so that gradients can be used."""
        return self if self.module is None else self.module

    def under(self, declared: Schema) -> "LoadedModel":
        """The same model, attacked as the model's owner declares now: a manifest never changes, what may move does."""
        return replace(self, schema=self.schema.with_threats_of(declared))

    def predict_score(self, rows: FloatArray) -> FloatArray:
        """The probability of the positive class (n,), of each class (n, k), or the value (n,)."""
        scores = np.asarray(self.score(np.asarray(rows, dtype=np.float64)), dtype=np.float64)
        return _checked(scores, self.task, self.manifest.classes)

    def predict_proba(self, rows: FloatArray, /) -> FloatArray:
        """The same, for classification, as scikit-learn calls it."""
        return self.predict_score(rows)

    def predict(self, rows: FloatArray, /) -> FloatArray:
        """The value, for regression, as scikit-learn calls it."""
        return self.predict_score(rows)


def load_model(
    manifest: Manifest,
    store: Store,
    factories: Mapping[str, Factory] = FACTORIES,
    *,
    trusted: Iterable[str] = estimator.TRUSTED,
) -> LoadedModel:
    """The model of a manifest. `factories` is the allow-list of torch, `trusted` the types a skops file may hold."""
    schema = manifest.schema_of_features
    if manifest.flavour is Flavour.NONE:
        raise BadInput("this version has no artefact: attach one with holdfast model attach FILE to score or stress it")
    data = store.read(manifest.only_file().sha256)
    found = sniff.flavour_of(next(iter(manifest.files)), data)
    if found is not manifest.flavour:
        raise UnsafeArtefact(f"expected a {manifest.flavour} file, got {found}: attach the model again")
    if found is Flavour.TORCH:
        module = _torch_module(manifest, data, factories)
        return LoadedModel(manifest=manifest, schema=schema, module=module, score=_torch_score(module, manifest.task))
    makers: dict[Flavour, Callable[[], Score]] = {
        Flavour.SKLEARN: lambda: estimator.sklearn_score(data, schema, manifest.task, manifest.classes, trusted),
        Flavour.ONNX: lambda: estimator.onnx_score(data, schema, manifest.classes),
        Flavour.XGBOOST: lambda: estimator.xgboost_score(data, schema),
    }
    return LoadedModel(manifest=manifest, schema=schema, module=None, score=makers[found]())


def _torch_module(manifest: Manifest, data: bytes, factories: Mapping[str, Factory]) -> nn.Module:
    if manifest.factory is None:
        raise BadInput(
            f"expected the name of a torch factory in the manifest; allowed are {', '.join(sorted(factories))}"
        )
    module = factory(manifest.factory, factories)(manifest.feature_schema, manifest.task, manifest.settings)
    try:
        module.load_state_dict(safetensors.torch.load(data))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise BadInput(f"the weights do not fit the network that {manifest.factory} builds: {error}") from None
    return module.eval()


def _torch_score(module: nn.Module, task: Task) -> Score:
    target = Target(module, task)

    def score(rows: FloatArray) -> FloatArray:
        outputs = target.outputs(rows)
        if task is Task.REGRESSION:
            return outputs
        return np.asarray(expit(outputs) if task is Task.BINARY else softmax(outputs, axis=1), dtype=np.float64)

    return score


def _checked(scores: NDArray[Any], task: Task, classes: Sequence[str]) -> FloatArray:
    """(n,) of the positive class from (n, 1) or (n, 2), (n, k) of several; probabilities must be such."""
    if task is Task.MULTICLASS:
        wanted = len(classes) or (scores.shape[1] if scores.ndim == 2 else 0)
        if scores.ndim != 2 or scores.shape[1] != wanted:
            named = f"each of {len(classes)} classes ({', '.join(classes)})" if classes else "each class"
            raise BadInput(f"expected a probability of {named} a row, got outputs of shape {scores.shape}")
    elif scores.ndim == 2:
        if task is Task.REGRESSION and scores.shape[1] != 1:
            raise BadInput(f"expected one value a row, got outputs of shape {scores.shape}")
        scores = scores[:, -1]
    finite = scores[np.isfinite(scores)]
    if task is not Task.REGRESSION and ((finite < 0) | (finite > 1)).any():
        raise BadInput(
            f"expected probabilities between 0 and 1, got {finite.min():.3g} … {finite.max():.3g}: "
            "export the model with its sigmoid or softmax"
        )
    return scores
