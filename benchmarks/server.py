"""The PostgreSQL that a benchmark runs on."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.db import embedded
from monitor.settings import Settings


@contextmanager
def server() -> Iterator[str]:
    """The one that the settings name, else an embedded one that ends with the benchmark."""
    given = Settings.load().database_url
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="holdfast-benchmark-") as home:
        try:
            yield embedded.start(Path(home))
        finally:
            embedded.stop(Path(home))
