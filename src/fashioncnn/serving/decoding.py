"""Decodes untrusted images in other processes, which a malformed image may crash or hang.

`concurrent.futures` can neither stop a task that hangs nor keep the other tasks when a process
dies, so each process has one image at a time and its own pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import cast

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.environment import address_space_bytes
from fashioncnn.inference.inputs import LoadedImage, load_views
from fashioncnn.inference.sources import ImageSource
from fashioncnn.serving.processes import SIGNALS, ignore, start_process

RETRY_SECONDS = 1.0
"""Pause after a process could not be started."""
REMEDY = "save it again with an image editor"


class Decoders:
    """Processes that turn the content of image files into views.

    Args:
        count: of processes.
        preprocessing: of the model.
        max_pixels: see `fashioncnn.inference.inputs.load_views`.
        seconds: after which a process is killed.
        memory_bytes: that a process may use for images; not limited where the system cannot.
        on_decoded: called with the seconds that each image took.
        on_restart: called for each process that is replaced.
    """

    def __init__(
        self,
        count: int,
        preprocessing: Preprocessing,
        max_pixels: int,
        seconds: float,
        memory_bytes: int,
        on_decoded: Callable[[float], None] = lambda _: None,
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        self._arguments = preprocessing, max_pixels, memory_bytes
        self._seconds = seconds
        self._on_decoded, self._on_restart = on_decoded, on_restart
        self._threads = ThreadPoolExecutor(count + 1, "decoder")
        self._idle: asyncio.Queue[_Decoder] = asyncio.Queue()
        self._all: set[_Decoder] = set()
        self._replacements: set[asyncio.Task[None]] = set()
        self._count = count

    async def start(self) -> None:
        """Start the processes."""
        await asyncio.gather(*(self._add() for _ in range(self._count)))

    async def decode(self, name: str, content: bytes) -> LoadedImage:
        """Return the views of an image, or why it could not be read.

        Args:
            name: of the image, for messages.
            content: of the file.
        """
        decoder = await self._take()
        loop = asyncio.get_running_loop()
        started = loop.time()
        call = loop.run_in_executor(self._threads, decoder.decode, name, content)
        answered = False
        try:
            async with asyncio.timeout(self._seconds):
                loaded = await asyncio.shield(call)
            answered = True
            return loaded
        except TimeoutError:
            return LoadedImage(name, None, f"{name}: not decoded in {self._seconds:g} s; {REMEDY}")
        except (EOFError, OSError):
            return LoadedImage(name, None, f"{name}: its decoder crashed; {REMEDY}")
        finally:
            self._on_decoded(loop.time() - started)
            if answered:
                self._idle.put_nowait(decoder)
            else:
                self._replace(decoder)
                call.add_done_callback(_ignore)

    def close(self) -> None:
        """End the processes, also those that hang."""
        for task in self._replacements:
            task.cancel()
        for decoder in self._all:
            decoder.kill()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _take(self) -> _Decoder:
        """Return a process that waits for an image; one that was killed meanwhile is replaced."""
        while True:
            decoder = await self._idle.get()
            if decoder.is_alive():
                return decoder
            self._replace(decoder)

    def _replace(self, decoder: _Decoder) -> None:
        decoder.kill()
        self._all.discard(decoder)
        self._on_restart()
        task = asyncio.get_running_loop().create_task(self._add())
        self._replacements.add(task)
        task.add_done_callback(self._replacements.discard)

    async def _add(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # no memory or no process is left
                decoder = await asyncio.to_thread(_Decoder, *self._arguments)
                self._all.add(decoder)
                self._idle.put_nowait(decoder)
                return
            await asyncio.sleep(RETRY_SECONDS)


class _Decoder:
    """One process and the pipe to it."""

    def __init__(self, *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        with theirs:  # only the process may hold it, so that its death ends a wait for an answer
            self._process = context.Process(
                target=_run, args=(theirs, *arguments), name="decoder", daemon=True
            )
            start_process(self._process, SIGNALS)
        try:
            self._pipe.recv()  # once its imports are done
        except EOFError:
            raise OSError("the process of a decoder ended at its start") from None

    def decode(self, name: str, content: bytes) -> LoadedImage:
        """Wait for the views of an image; raises `EOFError` or `OSError` if the process ends."""
        self._pipe.send((name, content))
        return cast(LoadedImage, self._pipe.recv())

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _run(pipe: Connection, preprocessing: Preprocessing, max_pixels: int, memory: int) -> None:
    """Decode images until the other end of the pipe is closed; the main function of a process."""
    ignore(SIGNALS)  # the server decides when to end
    _limit_resources(memory)
    with contextlib.suppress(EOFError, OSError):
        pipe.send(None)
        while True:
            name, content = pipe.recv()
            pipe.send(load_views(ImageSource(name, content), preprocessing, max_pixels))


def _limit_resources(memory_bytes: int) -> None:
    """Limit the memory of this process, and keep it from writing files, core dumps included."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {
        resource.RLIMIT_AS: address_space_bytes() + memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        with contextlib.suppress(ValueError, OSError):  # macOS, or a lower limit is set already
            resource.setrlimit(kind, (limit, limit))
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # libraries of decoders print warnings with text of the file
        os.dup2(null, descriptor)


def _ignore(call: asyncio.Future[LoadedImage]) -> None:
    """Retrieve the result of a call that nobody waits for."""
    if not call.cancelled():
        call.exception()
