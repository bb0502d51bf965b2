"""The address of a database, kept apart from its password."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, field

from fashioncnn.errors import UsageError

SCHEMES = ("postgresql", "postgres")
SECRETS = ("password", "sslpassword")
"""Parameters of a connection that are not shown."""
EXAMPLE = "postgresql://USER@HOST:PORT/DATABASE"


@dataclass(frozen=True)
class Address:
    """The address of a PostgreSQL database.

    Attributes:
        url: for SQLAlchemy, without password.
        label: for messages: user, host, port and database.
        user: name of the user; empty if libpq chooses it.
        secrets: password and the like, as arguments of a connection; not shown by `repr`. Without
            a password, libpq reads ``PGPASSWORD`` and ``~/.pgpass``.
    """

    url: str
    label: str
    user: str
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.label

    def explain(self, error: BaseException) -> str:
        """Return why the database cannot be used and what to do, in one line without secrets."""
        original = getattr(error, "orig", None) or error.__cause__
        original = getattr(original, "orig", None) or original or error
        lines = str(original).strip().splitlines() or [type(original).__name__]
        reason = lines[0].removeprefix("connection failed: ")
        for secret in self.secrets.values():
            reason = reason.replace(secret, "***")
        if "password" in reason:
            who = f"of user {self.user} " if self.user else ""
            return (
                f"the password {who}is missing or wrong; set PGPASSWORD or add a line to ~/.pgpass"
            )
        remedy = "check the address, and that the server accepts connections from this machine"
        if "connection" not in reason and "does not exist" not in reason:
            remedy = "then run the same command to resume"
        return f"the database cannot be used ({reason}); {remedy}"


def parse_address(text: str, origin: str = "--storage") -> Address:
    """Return the address in ``postgresql://user:password@host:port/database?parameters``.

    Args:
        text: as libpq accepts it; no message repeats it, since it may contain a password.
        origin: flag or variable that it comes from, for messages.

    Raises:
        UsageError: it is not an address of a PostgreSQL database.
    """
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in SCHEMES:
        shown = f" {scheme}://…" if separator and scheme.isalnum() else ""
        raise UsageError(f"{origin}{shown}: should be the address of a database, {EXAMPLE}")
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
        query = urllib.parse.parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise UsageError(_invalid(origin)) from None
    user = urllib.parse.unquote(parts.username or "")
    host, database = parts.hostname or "", urllib.parse.unquote(parts.path.removeprefix("/"))
    if parts.fragment or "@" in host + user or "/" in database or "@" in database:
        raise UsageError(_invalid(origin))
    secrets = {key: value for key, value in query if key in SECRETS}
    if parts.password:
        secrets["password"] = urllib.parse.unquote(parts.password)
    public = [(key, value) for key, value in query if key not in SECRETS]
    shown_host = host or dict(public).get("host", "")
    place = f"{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"
    account = f"{urllib.parse.quote(user, safe='')}@" if user else ""
    path = urllib.parse.quote(database, safe="")
    parameters = f"?{urllib.parse.urlencode(public)}" if public else ""
    return Address(
        f"postgresql+psycopg://{account}{place}/{path}{parameters}",
        f"postgresql://{account}{place or shown_host}/{database}",
        user,
        secrets,
    )


def _invalid(origin: str) -> str:
    return (
        f"{origin}: not a valid address; it should be {EXAMPLE}, with special characters of a "
        "password percent-encoded (@ is %40, / is %2F, # is %23)"
    )
