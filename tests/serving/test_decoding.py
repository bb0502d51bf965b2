"""A malformed image costs one process, and no other image."""

import asyncio
import os
import signal

import pytest
from PIL import Image

from fashioncnn.serving.decoding import Decoders

from .conftest import encode, shirt

MEMORY = 1 << 30


def decoders(predictor, count=1, seconds=60.0, memory=MEMORY, max_pixels=16_000_000, **callbacks):
    preprocessing = predictor.spec.preprocessing
    return Decoders(count, preprocessing, max_pixels, seconds, memory, **callbacks)


def run(function, pool):
    async def body():
        await pool.start()
        try:
            return await function()
        finally:
            pool.close()

    return asyncio.run(body())


def process_of(pool):
    (decoder,) = pool._all
    return decoder._process.pid


def test_views_and_errors(predictor):
    pool = decoders(predictor)

    async def decode():
        good = await pool.decode("a.png", encode(shirt()))
        bad = await pool.decode("b.png", b"no image")
        return good, bad

    good, bad = run(decode, pool)
    assert good.views.shape == (1, 28, 28)
    assert bad.views is None
    assert bad.error.startswith("b.png: not a JPEG")


def test_crash_fails_only_its_image(predictor):
    restarts = []
    pool = decoders(predictor, on_restart=lambda: restarts.append(1))

    async def decode():
        await pool.decode("first", encode(shirt()))
        process = process_of(pool)
        os.kill(process, signal.SIGSTOP)
        crashed = asyncio.create_task(pool.decode("crash.png", encode(shirt())))
        waiting = [asyncio.create_task(pool.decode(f"{i}", encode(shirt()))) for i in range(3)]
        await asyncio.sleep(0.1)
        os.kill(process, signal.SIGKILL)
        return await crashed, await asyncio.gather(*waiting)

    crashed, others = run(decode, pool)
    assert "crash.png: its decoder crashed" in crashed.error
    assert [loaded.error for loaded in others] == [None] * 3
    assert restarts == [1]


def test_hang_fails_only_its_image(predictor):
    pool = decoders(predictor)

    async def decode():
        await pool.decode("first", encode(shirt()))
        pool._seconds = 0.3
        os.kill(process_of(pool), signal.SIGSTOP)
        content = encode(shirt()) + bytes(5_000_000)  # more than a pipe holds
        hung = await pool.decode("hang.png", content)
        pool._seconds = 60
        return hung, await pool.decode("next", encode(shirt()))

    hung, following = run(decode, pool)
    assert "hang.png: not decoded in 0.3 s" in hung.error
    assert following.error is None


def test_process_that_was_killed_while_idle_is_replaced(predictor):
    pool = decoders(predictor)

    async def decode():
        await pool.decode("first", encode(shirt()))
        (decoder,) = pool._all
        decoder._process.kill()
        decoder._process.join()
        return await pool.decode("next", encode(shirt()))

    assert run(decode, pool).error is None


def test_cancelled_image_does_not_block_its_process(predictor):
    pool = decoders(predictor)

    async def decode():
        await pool.decode("first", encode(shirt()))
        os.kill(process_of(pool), signal.SIGSTOP)
        task = asyncio.create_task(pool.decode("cancelled", encode(shirt())))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await pool.decode("next", encode(shirt()))

    assert run(decode, pool).error is None


def test_memory_is_limited(predictor):
    large = encode(Image.new("RGB", (12_000, 12_000)), "PNG", compress_level=1)
    pool = decoders(predictor, memory=200 << 20, max_pixels=170_000_000)

    async def decode():
        return await pool.decode("large.png", large), await pool.decode("next", encode(shirt()))

    large_image, following = run(decode, pool)
    assert large_image.views is None
    assert "memory" in large_image.error
    assert following.error is None


@pytest.mark.parametrize("mode", ["RGBA", "I;16"])
def test_largest_image_fits_the_default_memory(predictor, mode):
    content = encode(Image.new(mode, (4000, 4000), 0), "PNG", compress_level=1)
    pool = decoders(predictor)
    assert run(lambda: pool.decode("large.png", content), pool).error is None


def test_processes_end(predictor):
    pool = decoders(predictor, count=2)

    async def pids():
        return [decoder._process for decoder in pool._all]

    assert not any(process.is_alive() for process in run(pids, pool))
