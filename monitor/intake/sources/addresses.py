"""Addresses of sources: passwords are named by an environment variable, never kept and never shown."""

import re
from urllib.parse import parse_qsl, quote, unquote

from monitor.errors import BadInput
from monitor.intake.sources.contract import Secret

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OURS = re.compile(r"(?!HOLDFAST_SECRET_)HOLDFAST_|DATABASE_URL$")
_PASSWORD = re.compile(r"//[^/@:]*:([^/@]*)@")
_TELLING = re.compile(r"pass(?!file)|pwd|secret|token|credential|(?<!ssl)key$|odbc_connect", re.IGNORECASE)
_EXAMPLE = "postgresql://user:${WAREHOUSE_PASSWORD}@host/db"


def check_address(url: str) -> None:
    """Let pass an address that holds no secret in clear.

    >>> check_address("postgresql://ann:${WAREHOUSE_PASSWORD}@db/shop")
    >>> check_address("postgresql://ann:hunter2@db/shop")
    Traceback (most recent call last):
    monitor.errors.BadInput: expected the password in a variable, got it in clear: set WAREHOUSE_PASSWORD where \
Holdfast runs and write postgresql://user:${WAREHOUSE_PASSWORD}@host/db

    Raises:
        BadInput: a password stands in clear, or a variable of the platform's own is named.
    """
    secrets = _PASSWORD.findall(url)
    secrets += [value for name, value in parse_qsl(url.partition("?")[2]) if _TELLING.search(name)]
    if any(secret and not _VARIABLE.fullmatch(unquote(secret)) for secret in secrets):
        raise BadInput(
            f"expected the password in a variable, got it in clear: set WAREHOUSE_PASSWORD where Holdfast runs and "
            f"write {_EXAMPLE}"
        )
    for name in _VARIABLE.findall(url):
        if _OURS.match(name):
            raise BadInput(f"expected a variable of the source's own, got {name}, which is Holdfast's")


def resolved(url: str, secret: Secret) -> str:
    """The address with the values of its variables, for use at once.

    >>> resolved("postgresql://ann:${PASSWORD}@db/shop", {"PASSWORD": "a/b"}.get)
    'postgresql://ann:a%2Fb@db/shop'

    Raises:
        BadInput: a variable is not set.
    """

    def value(found: "re.Match[str]") -> str:
        told = secret(found[1])
        if not told:
            raise BadInput(f"expected the variable {found[1]} in the environment of this process, got nothing: set it")
        return quote(told, safe="")

    return _VARIABLE.sub(value, url)


def without_secrets(text: str, url: str, secret: Secret) -> str:
    """A message of somebody else's with the values of the address's variables blotted out."""
    for name in _VARIABLE.findall(url):
        for value in {secret(name), quote(secret(name), safe="")} - {""}:
            text = text.replace(value, "•••")
    return text
