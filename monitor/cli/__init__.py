"""The command line: `holdfast`."""

import sys


def main() -> None:
    """Run the command, or say what to install where only the light client is there."""
    try:
        from monitor.cli.app import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(("monitor", "dashboard")):
            raise
        print(f"holdfast: {error.name} is not installed: pip install 'holdfast[server]'", file=sys.stderr)
        sys.exit(2)
    run()
