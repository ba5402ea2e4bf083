"""One archive that holds everything: a dump of the database, every artefact, and a manifest with their hashes."""

import hashlib
import json
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from psycopg import connect, sql
from sqlalchemy import make_url

from monitor.db.embedded import tool_path
from monitor.db.engine import libpq_url, make_engine
from monitor.db.migrate import known_revisions, revision, upgrade
from monitor.db.tables import METADATA
from monitor.errors import BadInput, SchemaVersionMismatch, Unavailable

FORMAT = 1
_DUMP, _MANIFEST, _ARTEFACTS = "database.dump", "manifest.json", "artifacts/"
_CHUNK = 1 << 20
_HEAD = 4_096  # bytes of a restoring script that hold its settings


def backup(url: str, artifact_dir: Path, file: Path) -> str:
    """Write the archive of a database and its artefacts; returns what it holds, in words."""
    partial = file.with_name(f".{file.name}.partial")
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        dump = Path(folder) / _DUMP
        _run("pg_dump", url, "--format=custom", "--no-owner", "--no-privileges", f"--file={dump}")
        # artefacts are never changed and are written before the rows that name them: those of the dump are there now
        artefacts = sorted(path for path in artifact_dir.rglob("*") if path.is_file())
        members = {_DUMP: dump} | {_ARTEFACTS + path.relative_to(artifact_dir).as_posix(): path for path in artefacts}
        manifest = {
            "format": FORMAT,
            "revision": _revision(url),
            "sha256": {name: _sha256(path) for name, path in members.items()},
        }
        try:
            _write(partial, manifest, members)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    return f"the database and {len(artefacts)} artefacts, {file.stat().st_size / 1e6:.1f} MB"


def _write(file: Path, manifest: dict[str, Any], members: dict[str, Path]) -> None:
    file.touch(mode=0o600)  # it holds what the database holds
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(_MANIFEST, json.dumps(manifest, indent=1))
        for name, path in members.items():
            archive.write(path, name)


def restore(url: str, artifact_dir: Path, file: Path) -> str:
    """Read an archive into a database without models; returns what it held, in words.

    Raises:
        BadInput: the file is no archive of ours, was damaged, or the database holds models.
        SchemaVersionMismatch: the archive was written by a newer Holdfast.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInput(f"expected an archive that `holdfast backup` wrote, got {file}: {error}") from error
    with archive, tempfile.TemporaryDirectory() as folder:
        names = _verified(archive, file)
        _empty(url)
        _restore_dump(url, Path(archive.extract(_DUMP, folder)))
        for name in names:
            target = artifact_dir / name.removeprefix(_ARTEFACTS)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
    upgrade(url)
    return f"the database and {len(names)} artefacts"


def _verified(archive: zipfile.ZipFile, file: Path) -> list[str]:
    """The names of the artefacts, once every member is what the manifest says."""
    try:
        manifest: dict[str, Any] = json.loads(archive.read(_MANIFEST))
        hashes: dict[str, str] = manifest["sha256"]
        damaged = [name for name, expected in hashes.items() if _sha256_of(archive, name) != expected]
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise BadInput(f"expected an archive that `holdfast backup` wrote, {file} is none or was damaged") from error
    names = [name for name in hashes if name != _DUMP]
    strange = [name for name in names if not name.startswith(_ARTEFACTS) or ".." in PurePosixPath(name).parts]
    if damaged or strange or manifest.get("format") != FORMAT:
        raise BadInput(f"expected an undamaged archive, in {file} these are not: {', '.join(damaged + strange)}")
    if manifest["revision"] not in known_revisions():
        raise SchemaVersionMismatch(
            f"{file} was written by a newer Holdfast (schema {manifest['revision']}): install it to restore"
        )
    return names


def _empty(url: str) -> None:
    """Remove the tables of a database that holds no model."""
    with connect(libpq_url(url)) as connection:
        there = connection.execute("SELECT to_regclass('public.models')").fetchone()
        if there != (None,):
            models = connection.execute("SELECT name FROM models ORDER BY 1").fetchall()
            if models:
                held = ", ".join(name for (name,) in models)
                raise BadInput(f"expected a database without models, this one holds {held}: restore into an empty one")
        for table in [*METADATA.tables, "alembic_version"]:
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier("public", table)))
        for schema in ("traces", "guard"):
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def _restore_dump(url: str, dump: Path) -> None:
    """By way of a script, in which the one setting that servers before 17 do not know is made a comment."""
    script = dump.with_suffix(".sql")
    _run("pg_restore", None, "--no-owner", "--no-privileges", f"--file={script}", str(dump))
    with script.open("r+b") as handle:
        head = handle.read(_HEAD)
        handle.seek(0)
        handle.write(head.replace(b"\nSET transaction_timeout", b"\n--  transaction_timeout"))
    _run("psql", url, "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", f"--file={script}")


def _run(tool: str, url: str | None, *arguments: str) -> None:
    command, environment = [str(tool_path(tool))], dict(os.environ)
    if url is not None:
        parsed = make_url(libpq_url(url))
        command.append(f"--dbname={parsed.set(password=None).render_as_string(hide_password=False)}")
        environment |= {"PGPASSWORD": parsed.password} if parsed.password else {}
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{tool} failed: {done.stderr.strip()[-500:]}")


def _revision(url: str) -> str | None:
    engine = make_engine(url, pool_size=1)
    try:
        with engine.connect() as connection:
            return revision(connection)
    finally:
        engine.dispose()


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sha256_of(archive: zipfile.ZipFile, name: str) -> str:
    digest = hashlib.sha256()
    with archive.open(name) as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
