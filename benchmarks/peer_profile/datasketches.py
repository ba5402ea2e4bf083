"""A KLL sketch a feature, as its users fill one: `update` with a NumPy column, then merged.

python -m benchmarks.peer_profile.datasketches ROWS BATCHES FEATURES SEED

Runs in the peer's environment, so it needs no more than NumPy. k = 200 is the library's default.
"""

import json
import sys
import time
from statistics import median

import numpy as np
from datasketches import kll_doubles_sketch

K = 200


def main() -> None:
    rows, batches, features, seed = map(int, sys.argv[1:])
    taken, sketches = [], []
    for batch in range(batches):
        columns = np.random.default_rng(seed + batch).normal(size=(features, rows))
        began = time.process_time_ns()
        sketches = [kll_doubles_sketch(K) for _ in range(features)]
        for sketch, column in zip(sketches, columns, strict=True):
            sketch.update(column)
        taken.append(time.process_time_ns() - began)
    total = [kll_doubles_sketch(K) for _ in range(features)]
    began = time.process_time_ns()
    for _ in range(100):
        for into, sketch in zip(total, sketches, strict=True):
            into.merge(sketch)
    merged = (time.process_time_ns() - began) / 100 / 1_000
    stored = sum(len(sketch.serialize()) for sketch in sketches)
    print(json.dumps({"ns a value": median(taken) / (rows * features), "merge, µs": merged, "stored, bytes": stored}))


if __name__ == "__main__":
    main()
