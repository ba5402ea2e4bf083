"""Heads of the audit chain, signed with Ed25519: who holds one can tell a cut chain, or a rewritten one."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from monitor.errors import BadInput
from monitor.governance.audit_chain import Head, canonical_json, sha256


@dataclass(frozen=True, kw_only=True)
class SignedHead:
    """A head, the fingerprint of the key that signed it, and the signature in hex."""

    head: Head
    key: str
    signature: str

    def to_line(self) -> str:
        """As one line of a file of heads."""
        return canonical_json(asdict(self.head) | {"key": self.key, "signature": self.signature})


def new_key() -> Ed25519PrivateKey:
    """A key to sign heads with."""
    return Ed25519PrivateKey.generate()


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """The key as a PEM file, unencrypted: the file's mode guards it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Ed25519PublicKey) -> bytes:
    """What an auditor keeps."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_private(pem: bytes) -> Ed25519PrivateKey:
    """The key of a PEM file.

    Raises:
        BadInput: it is no Ed25519 key.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise BadInput(f"expected an Ed25519 private key in PEM, got {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"expected an Ed25519 private key, got {type(key).__name__}")
    return key


def read_public(pem: bytes) -> Ed25519PublicKey:
    """The public key of a PEM file.

    Raises:
        BadInput: it is no Ed25519 key.
    """
    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        raise BadInput(f"expected an Ed25519 public key in PEM (`holdfast audit key` prints it), got {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"expected an Ed25519 public key, got {type(key).__name__}")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """Sixteen hex digits by which a key is told from another."""
    return sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex())[:16]


def sign(head: Head, key: Ed25519PrivateKey) -> SignedHead:
    """The head with a signature over its canonical JSON.

    >>> key = new_key()
    >>> signed = sign(Head(number=3, hash="a" * 64, at="2026-03-01T00:00:00+00:00"), key)
    >>> read_head(signed.to_line(), key.public_key(), where="line 1").number
    3
    """
    signature = key.sign(_covered(head)).hex()
    return SignedHead(head=head, key=fingerprint(key.public_key()), signature=signature)


def read_head(line: str, key: Ed25519PublicKey, *, where: str) -> Head:
    """The head of a line, once its signature was found good.

    Raises:
        BadInput: it is no signed head, another key signed it, or it was altered since.
    """
    try:
        found: dict[str, Any] = json.loads(line)
        head = Head(number=int(found["number"]), hash=str(found["hash"]), at=str(found["at"]))
        signer, signature = str(found["key"]), bytes.fromhex(str(found["signature"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadInput(f"expected a signed head in {where}, got {line[:60]!r} ({type(error).__name__})") from None
    if signer != fingerprint(key):
        raise BadInput(f"the head in {where} is signed by key {signer}; the one at hand is {fingerprint(key)}")
    try:
        key.verify(signature, _covered(head))
    except InvalidSignature:
        raise BadInput(f"the head in {where} was altered: its signature does not fit") from None
    return head


def _covered(head: Head) -> bytes:
    return canonical_json(asdict(head)).encode()
