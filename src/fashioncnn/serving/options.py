"""What the server accepts, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass, field

from fashioncnn.images.decoding import MAX_PIXELS

MIB = 1 << 20


@dataclass(frozen=True)
class Deadlines:
    """How long a connection may take, in seconds; a slower client is disconnected.

    Attributes:
        header: for the header of a request, from its first byte, or from the start of a connection.
        body: for the body, in addition to the time at `body_rate`.
        body_rate: bytes per second at which a body may arrive.
        write: for the client to read from a full buffer.
        keep_alive: without a request, after which a connection is closed. A proxy should close its
            connections earlier (nginx: after 60 s), so that it uses none that is being closed.
    """

    header: float = 10.0
    body: float = 20.0
    body_rate: float = 16_384.0
    write: float = 30.0
    keep_alive: int = 65


@dataclass(frozen=True)
class ServerOptions:
    """Settings of the service.

    Attributes:
        token: bearer token that requests to ``/v1/`` need; None for no token.
        allowed_hosts: names that the header Host may have, next to IP addresses and localhost;
            ``*.example.org`` is any subdomain, ``*`` any name.
        max_body_bytes: of one request.
        max_images: in one request.
        max_pixels: of one image, see `fashioncnn.images.decoding.read_image`.
        max_pending_images: that are decoded or predicted, or wait for it, at the same time.
        max_pending_bytes: in the bodies of all requests that are being received or answered.
        max_wait: expected seconds until an answer, beyond which requests are rejected.
        max_batch: images in one batch of the network.
        decoders: processes that decode images.
        decode_seconds: after which a decoder is killed.
        decode_bytes: memory that a decoder may use for an image.
        request_seconds: after which a request whose body has arrived fails.
        max_connections: at the same time.
        deadlines: of connections.
        grace: seconds after SIGTERM in which connections are still accepted.
        drain_seconds: after that, until requests that are not answered yet are cancelled.
    """

    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    max_body_bytes: int = 32 * MIB
    max_images: int = 32
    max_pixels: int = MAX_PIXELS
    max_pending_images: int = 512
    max_pending_bytes: int = 256 * MIB
    max_wait: float = 5.0
    max_batch: int = 32
    decoders: int = 2
    decode_seconds: float = 10.0
    decode_bytes: int = 1024 * MIB
    request_seconds: float = 20.0
    max_connections: int = 1000
    deadlines: Deadlines = field(default_factory=Deadlines)
    grace: float = 0.5
    drain_seconds: int = 7
