"""What a model file really is, judged by its name and its first bytes, before any parser sees it."""

import io
import json
import zipfile
from pathlib import PurePath

from monitor.artifacts.manifest import Flavour
from monitor.errors import UnsafeArtefact

_SKLEARN_ADVICE = "For scikit-learn: holdfast model attach FILE --convert, or skops.io.dump(model, 'model.skops')"
_TORCH_ADVICE = "Use safetensors.torch.save_file(model.state_dict(), 'w.safetensors')"
UNSAFE_SUFFIXES = {
    ".pkl": _SKLEARN_ADVICE,
    ".pickle": _SKLEARN_ADVICE,
    ".joblib": _SKLEARN_ADVICE,
    ".dill": _SKLEARN_ADVICE,
    ".pt": _TORCH_ADVICE,
    ".pth": _TORCH_ADVICE,
    ".pt2": _TORCH_ADVICE,
    ".ckpt": _TORCH_ADVICE,
}


def flavour_of(name: str, data: bytes) -> Flavour:
    """The flavour of a model file; anything that could run code, or that is not known, raises UnsafeArtefact."""
    suffix = PurePath(name).suffix.lower()
    if suffix in UNSAFE_SUFFIXES:
        raise UnsafeArtefact(f"{name} is a {suffix} file. It can run code when loaded. {UNSAFE_SUFFIXES[suffix]}")
    if _is_safetensors(data):
        return Flavour.TORCH
    if data[:4] == b"PK\x03\x04":
        return _flavour_of_zip(name, data)
    if _is_pickle(data):
        raise UnsafeArtefact(f"{name} holds a pickle. It can run code when loaded. {_SKLEARN_ADVICE}. {_TORCH_ADVICE}")
    if data[:1] == b"{" and b"learner" in data[:4_096]:
        return Flavour.XGBOOST
    if suffix == ".onnx" and data[:1] == b"\x08":
        return Flavour.ONNX
    raise UnsafeArtefact(
        f"expected {name} to be safetensors, skops, ONNX or XGBoost's own JSON or UBJ, got none of these. "
        f"{_TORCH_ADVICE}. {_SKLEARN_ADVICE}. For XGBoost: model.save_model('model.ubj')"
    )


def _is_safetensors(data: bytes) -> bool:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 10 or length > len(data) - 8 or data[8:9] != b"{":
        return False
    try:
        return isinstance(json.loads(data[8 : 8 + length]), dict)
    except ValueError:
        return False


def _is_pickle(data: bytes) -> bool:
    """Protocol 2 to 5, bare or compressed as joblib does."""
    bare = len(data) > 2 and data[0] == 0x80 and 2 <= data[1] <= 5
    return bare or data[:2] in (b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda") or data[:6] == b"\xfd7zXZ\x00"


def _flavour_of_zip(name: str, data: bytes) -> Flavour:
    try:
        members = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except zipfile.BadZipFile:
        raise UnsafeArtefact(
            f"expected {name} to be a whole skops file, got a damaged archive: write it again"
        ) from None
    if "schema.json" in members and not any(member.endswith(".pkl") for member in members):
        return Flavour.SKLEARN
    raise UnsafeArtefact(f"{name} is an archive of torch or pickles. It can run code when loaded. {_TORCH_ADVICE}")
