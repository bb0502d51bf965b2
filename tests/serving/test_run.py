"""The socket of the server."""

import asyncio
import socket

from fashioncnn.serving.run import listen


def test_answers_in_parts_are_not_delayed():
    """With Nagle's algorithm, the second part would wait for the client's acknowledgment."""

    async def accepted_option():
        accepted = asyncio.get_running_loop().create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                connection = transport.get_extra_info("socket")
                accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        with listen("127.0.0.1", 0) as listening:
            server = await asyncio.get_running_loop().create_server(Protocol, sock=listening)
            with socket.create_connection(listening.getsockname()):
                option = await accepted
            server.close()
        return option

    assert asyncio.run(accepted_option()) != 0
