"""Examples that need no platform, run as their docstring says."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_image_example_prints_a_row_for_each_budget_and_no_caution():
    told = subprocess.run(
        [sys.executable, "examples/images.py"],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=True,
    ).stdout.splitlines()  # fmt: skip
    survive = [float(line.split()[1].rstrip("%")) for line in told[1:5]]
    assert survive == sorted(survive, reverse=True)
    assert survive[0] > 85 > 30 > survive[3]
    assert not any("CAUTION" in line for line in told)
