"""Who may send requests, and what browsers may do with the answers."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from fashioncnn.errors import UsageError
from fashioncnn.reading import read_text, reason
from fashioncnn.serving.problems import ProblemError

TOKEN_BYTES = 4096
"""Limit on a token file."""
BYTE_ORDER_MARK = "\ufeff"
"""Some editors write it at the start of a text."""
BEARER = "Bearer"
ANY_HOST = "*"
HOST_NAME = re.compile(
    r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*"
)
"""Names that `host_check` allows, in lower case."""
HOST_HEADER = re.compile(r"(?P<name>\[[^\[\]]*\]|[^\[\]:]*)(:[0-9]*)?")
"""The header Host: a name, or an IPv6 address in brackets, and a port (RFC 9110, 7.2)."""
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every response. There is none of CORS: pages of other origins cannot read answers."""
RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


def read_token(path: Path) -> str:
    """Return the token in a file, without white space around it.

    Raises:
        UsageError: it cannot be read, or is not one line of visible ASCII characters.
    """
    try:
        token = read_text(path, TOKEN_BYTES).removeprefix(BYTE_ORDER_MARK).strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: the token cannot be read ({reason(error)})") from None
    if not token:
        raise UsageError(f"{path}: empty; write a token into it, one line")
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError(f"{path}: the token should be one line of visible ASCII characters")
    return token


def check_token(authorization: str | None, token: str | None) -> None:
    """Raise `ProblemError` with status 401 unless a request has the token.

    Args:
        authorization: the header of the request.
        token: that is needed; None for no token.
    """
    if token is None:
        return
    scheme, _, given = (authorization or "").partition(" ")
    is_bearer = scheme.lower() == BEARER.lower()  # the scheme is case-insensitive (RFC 9110, 11.1)
    # The time of the comparison does not depend on how much of the token is correct.
    if hmac.compare_digest(given.strip().encode(), token.encode()) and is_bearer:
        return
    raise ProblemError(
        401,
        f"send the token of the server as Authorization: {BEARER} …",
        {"WWW-Authenticate": BEARER},
    )


def normalize_hosts(names: Iterable[str]) -> tuple[str, ...]:
    """Return host names in lower case, without a dot at their end.

    Args:
        names: of hosts; ``*.example.org`` is any subdomain, ``*`` is any name.

    Raises:
        UsageError: one is not a host name, so that no request would have it.
    """
    hosts = []
    for name in names:
        host = name.lower().removesuffix(".")
        if host != ANY_HOST and not HOST_NAME.fullmatch(host) and not _is_address(host):
            raise UsageError(
                f"--allowed-host {name}: should be a host name, such as images.example.org or "
                "*.example.org, without scheme, port and path; write one with other letters in "
                "Punycode, as a browser sends it"
            )
        hosts.append(host)
    return tuple(hosts)


def host_check(allowed: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that checks the header Host of a request.

    A page of another site cannot reach the server under a name of that site whose address was
    changed to the server's (DNS rebinding). An IP address cannot be changed, so any is accepted.

    Args:
        allowed: names, see `normalize_hosts`.
    """
    names = {*allowed, "localhost"}
    suffixes = tuple(name[1:] for name in names if name.startswith("*."))

    def is_allowed(host: str) -> bool:
        name = _without_port(host.lower())
        if name is None:
            return False
        if ANY_HOST in names or name in names or (suffixes and name.endswith(suffixes)):
            return True
        return _is_address(name)

    return is_allowed


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str | None:
    """Return the name in the header Host; None if it is malformed."""
    match = HOST_HEADER.fullmatch(host)
    return None if match is None else match["name"].removesuffix(".")
