"""From a file, or from a training's result, to a manifest whose file lies in the store."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monitor.artifacts.convert import ConvertedArtefact
from monitor.artifacts.manifest import Flavour, Manifest, StoredFile
from monitor.artifacts.sniff import flavour_of
from monitor.artifacts.store import Store
from monitor.errors import BadInput
from monitor.robustness.target import Task
from monitor.schema import Schema
from monitor.training.networks import TABULAR
from monitor.training.provenance import weights_bytes
from monitor.training.trainer import Trained


def attach_file(
    path: Path | str,
    store: Store,
    *,
    schema: Schema,
    task: Task | str,
    factory: str = TABULAR,
    settings: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    classes: Sequence[str] = (),
) -> Manifest:
    """Keep a file that cannot run code: safetensors (with `factory`, `settings`), skops, ONNX, XGBoost's own."""
    source = Path(path)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise BadInput(f"expected a readable model file, got {source}: {error.strerror}") from None
    return _kept(
        source.name, data, store, schema, Task(task), factory, dict(settings or {}), dict(provenance or {}), classes
    )


def attach_converted(
    converted: ConvertedArtefact, store: Store, *, schema: Schema, classes: Sequence[str] = ()
) -> Manifest:
    """Keep what `convert_sklearn` made."""
    note = {"converted": "from a pickle, once, in a limited child process", "equal_predictions_on_rows": converted.rows}
    return _kept(converted.name, converted.data, store, schema, converted.task, TABULAR, {}, note, classes)


def attach_trained(trained: Trained, store: Store, *, schema: Schema, classes: Sequence[str] = ()) -> Manifest:
    """Keep the weights of a training, with what built and what made them."""
    return _kept(
        "weights.safetensors",
        weights_bytes(trained.model),
        store,
        schema,
        trained.task,
        trained.factory,
        dict(trained.settings),
        trained.provenance.to_document(),
        classes,
    )


def _kept(
    name: str,
    data: bytes,
    store: Store,
    schema: Schema,
    task: Task,
    factory: str,
    settings: dict[str, Any],
    provenance: dict[str, Any],
    classes: Sequence[str],
) -> Manifest:
    flavour = flavour_of(name, data)
    is_torch = flavour is Flavour.TORCH
    if classes and factory == TABULAR:
        settings.setdefault("classes", len(classes))
    return Manifest(
        flavour=flavour,
        files={name: StoredFile(sha256=store.put(data), size=len(data))},
        feature_schema=schema.to_document(),
        task=task,
        classes=tuple(classes),
        factory=factory if is_torch else None,
        settings=settings if is_torch else {},
        preprocessing={"inside": "the module"} if is_torch and factory == TABULAR else {},
        provenance=provenance,
    )
