"""Time and memory of one piece of work in a process of its own."""

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 1024**2


def resident() -> float:
    """MiB that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def tell(*, imported_s: float, load: Callable[[], Any], work: Callable[[Any], Any]) -> None:
    """Load, do the work once, and print what it cost as one line of JSON.

    `frames_mib` is what the loaded data holds, `peak_mib` the highest memory above the process as imported.
    """
    before = resident()
    data = load()
    frames = resident() - before
    started, cpu = time.perf_counter(), time.process_time()
    found = work(data)
    wall, used = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    cost = {"import_s": imported_s, "wall_s": wall, "cpu_s": used, "frames_mib": frames, "peak_mib": peak}
    print(json.dumps({**cost, **(found if isinstance(found, dict) else {})}))
