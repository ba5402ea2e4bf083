"""Signed heads of the audit chain in a folder outside the database: a key, and one line a head, appended."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.audit import AuditEntry
from monitor.db.engine import database_now
from monitor.db.read_audit import links
from monitor.errors import BadInput, Unavailable
from monitor.governance.audit_chain import Head, check_links
from monitor.governance.audit_heads import (
    SignedHead,
    new_key,
    private_pem,
    public_pem,
    read_head,
    read_private,
    read_public,
    sign,
)

_TAIL = 4_096  # bytes at the end of the file that hold its last line


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """Where the key lies and where the heads go."""

    key: Path
    heads: Path

    @classmethod
    def of(cls, home: Path, sink: Path | None = None) -> "Keeper":
        """The installation's: the key stays at home, the heads go to the sink where one is set."""
        folder = home / "audit"
        return cls(key=folder / "key", heads=(sink or folder) / "heads.jsonl")

    @property
    def public(self) -> Path:
        return self.key.with_name("key.pub")


def signing_key(keeper: Keeper) -> Ed25519PrivateKey:
    """The key, made once; two processes that begin together end up with the same.

    Raises:
        BadInput: others can read the file, or it holds no key.
    """
    if not keeper.key.exists():
        _make_key(keeper)
    if keeper.key.stat().st_mode & 0o077:
        raise BadInput(f"expected {keeper.key} to be readable by its owner alone: chmod 600 {keeper.key}")
    key = read_private(keeper.key.read_bytes())
    if not keeper.public.exists():
        keeper.public.write_bytes(public_pem(key.public_key()))
    return key


def _make_key(keeper: Keeper) -> None:
    keeper.key.parent.mkdir(parents=True, exist_ok=True)
    partial = keeper.key.with_name(f".key.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(private_pem(new_key()))
        os.link(partial, keeper.key)  # fails where another process was first: its key counts
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def sign_newest(session: Session, keeper: Keeper) -> SignedHead | None:
    """Sign the newest entry and append it; None when it is signed already, or nothing was ever recorded.

    What came since the last head is checked first: a chain that does not follow it is not signed.

    Raises:
        Unavailable: the chain does not follow its last head; `holdfast audit verify` says where.
    """
    key = signing_key(keeper)
    newest = session.execute(select(AuditEntry.id, AuditEntry.hash).order_by(AuditEntry.id.desc()).limit(1)).first()
    with _locked(keeper.heads) as file:
        line = _last_line(file)
        last = read_head(line, key.public_key(), where=str(keeper.heads)) if line else None
        if newest is None and last is None:
            return None
        _require_follows(session, last)
        if newest is None or (last is not None and last.number == newest.id):
            return None
        now = database_now(session).isoformat(timespec="seconds")
        signed = sign(Head(number=newest.id, hash=newest.hash, at=now), key)
        _append(file, signed.to_line())
    return signed


def read_heads(heads: Path, public: Path) -> list[Head]:
    """Every head of a file, each with a good signature; none where there is no such file yet.

    Raises:
        BadInput: a line is no head, was altered, or was signed by another key.
    """
    if not heads.exists():
        return []
    if not public.exists():
        raise BadInput(f"expected the public key of {heads} in {public}: `holdfast audit key` prints it")
    key = read_public(public.read_bytes())
    text = heads.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]  # a line without an end was being written when the machine stopped
    return [
        read_head(line, key, where=f"line {number} of {heads}")
        for number, line in enumerate(whole.splitlines(), start=1)
    ]


def _require_follows(session: Session, last: Head | None) -> None:
    if last is None:
        return
    kept = session.scalar(select(AuditEntry.hash).where(AuditEntry.id == last.number))
    found = check_links(links(session, after=last.number), after=last) if kept == last.hash else None
    if found is None or not found.ok:
        why = found.sentence if found is not None else f"Entry #{last.number} is gone or was altered."
        raise Unavailable(f"the audit chain does not follow its last signed head. {why} See `holdfast audit verify`")


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _last_line(file: IO[bytes]) -> str:
    """The last whole line; what was left of an unfinished one is cut off."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    end = tail.rfind(b"\n") + 1
    if end < len(tail):
        file.truncate(size - (len(tail) - end))
    lines = tail[:end].splitlines()
    return lines[-1].decode() if lines else ""


def _append(file: IO[bytes], line: str) -> None:
    size = file.seek(0, os.SEEK_END)
    try:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    except OSError:
        file.truncate(size)
        raise
