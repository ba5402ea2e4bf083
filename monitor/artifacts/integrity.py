"""Whether the files of a version are still those that were registered: hashes only, nothing is parsed."""

from monitor.artifacts.manifest import Manifest
from monitor.artifacts.store import Store
from monitor.errors import NotFound, UnsafeArtefact


def check_files(manifest: Manifest, store: Store, *, version: str) -> None:
    """Let a version pass whose every file is in the store with its hash.

    Raises:
        UnsafeArtefact: a file is missing, or its content is another one.
    """
    for name, file in manifest.files.items():
        try:
            store.read(file.sha256)
        except NotFound:
            raise UnsafeArtefact(
                f"expected {name} of {version} (sha256 {file.sha256[:12]}…) in the artefact store, got nothing: "
                "restore it from a backup or register the version again"
            ) from None
        except UnsafeArtefact:
            raise UnsafeArtefact(
                f"expected {name} of {version} with sha256 {file.sha256[:12]}…, got another content: the file was "
                "altered or damaged since it was registered. Restore it from a backup or register the version again"
            ) from None
