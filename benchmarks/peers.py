"""Make the peers' environments, each its own under `.venv-peers/NAME`, because they conflict with one another.

python -m benchmarks.peers [NAME …]
"""

import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / ".venv-peers"
PEERS = {
    "evidently": ["evidently==0.7.23", "pandas>=2.2,<3.1"],
    "nannyml": ["nannyml"],
    "alibi-detect": ["alibi-detect"],
    "river": ["river"],
    "frouros": ["frouros"],
    "art": ["adversarial-robustness-toolbox", "torch==2.13.0"],
    "foolbox": ["foolbox", "torch==2.13.0"],
}


def make(name: str) -> None:
    """Create the environment of one peer and install it, unless it is there."""
    target = FOLDER / name
    if (target / ".installed").exists():
        print(f"{name}: there already", file=sys.stderr)
        return
    venv.create(target, with_pip=True, clear=True)
    command = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", *PEERS[name]]
    subprocess.run(command, check=True)
    (target / ".installed").touch()
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
