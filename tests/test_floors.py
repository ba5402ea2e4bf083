"""The rule of the house: a file imports only from its own floor or a lower one, and no package imports in circles."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Floor 0 is ordered: each room may use the rooms before it.
PURE = [
    "errors",
    "formula",
    "vectors",
    "schema",
    "batch",
    "windows",
    "drift",
    "performance",
    "robustness",
    "training",
    "alerts",
    "governance",
]
STORAGE = ["db"]
WORK = ["acts", "intake", "jobs", "notify", "artifacts", "reports"]
DOORS = ["cli", "api", "client", "settings", "scheduler", "up"]
RANK = {room: (0, order) for order, room in enumerate(PURE)}
RANK |= dict.fromkeys(STORAGE, (1, 0)) | dict.fromkeys(WORK, (2, 0)) | dict.fromkeys(DOORS, (3, 0))
# Pure rooms are handed the clock, the environment and the network; they never reach for them.
FORBIDDEN_BELOW = {"sqlalchemy", "psycopg", "os", "time", "socket", "httpx", "subprocess", "pgpq"}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "dashboard":
        return "dashboard"
    return parts[1] if parts[0] == "monitor" and len(parts) > 1 else None


def _rank(room: str) -> tuple[int, int]:
    return (3, 1) if room == "dashboard" else RANK[room]


def _files() -> list[tuple[str, Path]]:
    found = [
        (path.relative_to(ROOT / "monitor").parts[0].removesuffix(".py"), path)
        for path in (ROOT / "monitor").rglob("*.py")
    ]
    found += [("dashboard", path) for path in (ROOT / "dashboard").rglob("*.py")]
    return [(room, path) for room, path in found if room != "__init__"]


def test_every_room_has_a_floor():
    assert {room for room, _ in _files()} <= {*RANK, "dashboard"}


def test_imports_go_down_the_floors_only():
    climbs = [
        f"{path.relative_to(ROOT)} imports {module}"
        for room, path in _files()
        for module in _imports(path)
        if (target := _room(module)) in RANK and _rank(target) > _rank(room) and room != "dashboard"
    ]
    assert climbs == []


def test_pure_rooms_touch_no_sql_clock_environment_or_network():
    reached = [
        f"{path.relative_to(ROOT)} imports {module}"
        for room, path in _files()
        if room in PURE
        for module in _imports(path)
        if module.split(".")[0] in FORBIDDEN_BELOW
    ]
    assert reached == []


def test_acts_and_handlers_do_not_know_the_worker():
    known = [
        f"{path.relative_to(ROOT)} imports {module}"
        for room, path in _files()
        for module in _imports(path)
        if (room == "acts" and module.startswith("monitor.jobs"))
        or (room == "jobs" and path.stem not in {"worker", "__init__"} and module.startswith("monitor.jobs.worker"))
    ]
    assert known == []


def test_only_one_file_imports_evidently():
    importers = {
        str(path.relative_to(ROOT))
        for _, path in _files()
        for module in _imports(path)
        if module.split(".")[0] == "evidently"
    }
    assert importers <= {"monitor/reports/evidently.py"}
