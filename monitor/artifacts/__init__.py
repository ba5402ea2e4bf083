"""Model artefacts: manifests, a content-addressed store, and loaders that cannot run a file's code."""

from monitor.artifacts.attach import attach_converted, attach_file, attach_trained
from monitor.artifacts.convert import ConvertedArtefact, convert_sklearn
from monitor.artifacts.integrity import check_files
from monitor.artifacts.load import LoadedModel, load_model
from monitor.artifacts.manifest import Flavour, Manifest, StoredFile
from monitor.artifacts.store import Store

__all__ = [
    "ConvertedArtefact",
    "Flavour",
    "LoadedModel",
    "Manifest",
    "Store",
    "StoredFile",
    "attach_converted",
    "attach_file",
    "attach_trained",
    "check_files",
    "convert_sklearn",
    "load_model",
]
