"""Make the peers' environments, each its own under `.venv-peers/NAME`, because they conflict with one another.

python -m benchmarks.peers [NAME …]

The pins are the versions that the benchmarks were run with, on Python 3.11. Each needs pyarrow to read what the
benchmark hands over. NannyML imports statsmodels without asking for it, and fails on pandas 3.
"""

import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / ".venv-peers"
PYARROW = "pyarrow==26.0.1"
PEERS = {
    "evidently": ["evidently==0.7.23", "pandas==3.0.6", "numpy==2.4.6", "scipy==1.17.1", PYARROW],
    "nannyml": ["nannyml==0.13.1", "pandas==2.3.3", "numpy==2.2.6", "scipy==1.17.1", "statsmodels==0.15.0", PYARROW],
    "alibi-detect": ["alibi-detect==0.13.0", "pandas==2.3.3", "numpy==1.26.4", "scipy==1.17.1", "pyarrow==18.1.0"],
    "river": ["river==0.26.1", "numpy==2.4.6", "scipy==1.17.1", PYARROW],
    "frouros": ["frouros==0.9.0", "numpy==2.1.3", "scipy==1.14.1", PYARROW],
    "art": ["adversarial-robustness-toolbox==1.20.1", "packaging==26.0", "torch==2.13.0", "numpy==2.4.6"],
    "foolbox": ["foolbox==3.3.4", "torch==2.13.0", "numpy==2.4.6"],
    "torchattacks": ["torchattacks==3.5.1", "torch==2.13.0", "numpy==2.4.6"],
    "autoattack": ["pyautoattack==0.2.0", "torch==2.13.0", "numpy==2.4.6"],
    "datasketches": ["datasketches==5.2.0", "numpy==2.4.6"],
    "moeva": ["pymoo==0.6.2", "torch==2.13.0", "numpy==2.4.6"],
}


def python(name: str) -> Path:
    """The interpreter of a peer's environment, made or not."""
    return FOLDER / name / "bin" / "python"


def installed(name: str) -> bool:
    """Whether the environment holds exactly what is asked for now."""
    marker = FOLDER / name / ".installed"
    return marker.exists() and marker.read_text().split() == " ".join(PEERS[name]).split()


def make(name: str) -> None:
    """Create the environment of one peer and install it, unless it is there with the same requirements."""
    if installed(name):
        print(f"{name}: there already", file=sys.stderr)
        return
    target = FOLDER / name
    venv.create(target, with_pip=True, clear=True)
    subprocess.run([str(python(name)), "-m", "pip", "install", "--quiet", *PEERS[name]], check=True)
    (target / ".installed").write_text("\n".join(PEERS[name]) + "\n")
    print(f"{name}: installed in {target}", file=sys.stderr)


def main() -> None:
    chosen = sys.argv[1:] or list(PEERS)
    unknown = [name for name in chosen if name not in PEERS]
    if unknown:
        sys.exit(f"expected peers among {', '.join(PEERS)}, got {', '.join(unknown)}")
    for name in chosen:
        make(name)


if __name__ == "__main__":
    main()
