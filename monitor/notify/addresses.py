"""Web addresses: what one must look like, and how much of it may be shown. Without a channel's libraries."""

from urllib.parse import urlsplit


def host_of(url: str) -> str:
    """The part of an address that is no secret.

    >>> host_of("https://user:pw@hooks.example:8443/token")
    'https://hooks.example:8443'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}"


def checked_url(url: str) -> str:
    """A web address that a request can be sent to.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
        raise ValueError("expected an address that begins with http:// or https://")
    return url
