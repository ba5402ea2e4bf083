"""Which weights came out of which inputs: hashes that make a training repeatable and an artefact recognisable."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from monitor.schema import FloatArray


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a training used. `inputs` are hashes and versions handed in: data snapshot, code, lock file, hardware.

    `families` are the shares of noise that were drawn, `fallback` the sentence of a candidate that stands in for a more
    hardened one, `allow_leaks` the features that were allowed although they look like the target.
    """

    recipe: Mapping[str, Any]
    seed: int
    rows: int
    data_sha256: str
    weights_sha256: str
    torch_version: str
    threads: int
    inputs: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[str, float] = field(default_factory=dict)
    allow_leaks: tuple[str, ...] = ()
    fallback: str = ""

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def weights_sha256(module: nn.Module) -> str:
    """Hash of the module's state (parameters and buffers) as the bytes of its safetensors file."""
    return hashlib.sha256(weights_bytes(module)).hexdigest()


def weights_bytes(module: nn.Module) -> bytes:
    """The module's state as a safetensors file."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    return safetensors.torch.save(state)


def data_sha256(rows: FloatArray, y: FloatArray) -> str:
    """Hash of rows (n, d) and targets (n,), their shapes included; every NaN counts as the same value."""
    digest = hashlib.sha256()
    for array in (rows, y):
        values = np.ascontiguousarray(array, dtype="<f8").copy()
        values[np.isnan(values)] = np.nan
        digest.update(repr(values.shape).encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def torch_runtime() -> tuple[str, int]:
    """torch's version and the threads it uses: another number of threads may round differently."""
    return str(torch.__version__), torch.get_num_threads()
