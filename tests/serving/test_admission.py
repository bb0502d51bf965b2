"""Requests that would wait too long are rejected."""

import pytest

from fashioncnn.serving.admission import Admission
from fashioncnn.serving.options import ServerOptions
from fashioncnn.serving.problems import ProblemError


def admission(**options):
    return Admission(ServerOptions(**{"decoders": 1, **options}))


def test_images_are_limited():
    seen = []
    places = Admission(ServerOptions(max_pending_images=3), seen.append)
    with places.images(2):
        with pytest.raises(ProblemError) as caught, places.images(2):
            pass
        assert caught.value.status == 429
        with places.images(1):
            pass
    assert seen == [2, 3, 2, 0]
    with places.images(10):  # a request alone is never too large for an idle server
        pass


def test_expected_wait_is_limited():
    places = admission(max_wait=5)
    places.record_decoding(2.0)
    with places.images(2):
        assert places.expected_wait == pytest.approx(4)
        places.check()
        with places.images(1):
            with pytest.raises(ProblemError) as caught:
                places.check()
            assert caught.value.headers == {"Retry-After": "6"}
    assert places.expected_wait == 0


def test_more_decoders_wait_less():
    places = admission(decoders=4)
    places.record_decoding(2.0)
    with places.images(4):
        assert places.expected_wait == pytest.approx(2)


def test_slower_of_decoding_and_network_counts():
    places = admission(decoders=4)
    places.record_decoding(2.0)
    places.record_batch(10, 10.0)
    with places.images(4):
        assert places.expected_wait == pytest.approx(4)
    places.record_batch(1, 0.0)
    with places.images(4):
        assert places.expected_wait == pytest.approx(2)
    places.forget()
    with places.images(4):
        assert places.expected_wait == 0


def test_bytes_of_all_bodies_are_limited():
    places = admission(max_pending_bytes=100)
    with places.body() as first:
        first(60)
        with pytest.raises(ProblemError) as caught, places.body() as second:
            second(60)
        assert caught.value.status == 503
        with places.body() as third:
            third(40)
    with places.body() as alone:
        alone(100)
