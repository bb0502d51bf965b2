import pytest

from fashioncnn.bench import limit


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch):
    """Measure the limit with matrices that take no time."""
    monkeypatch.setitem(limit.LIMIT_SIDES, "cpu", (64,))
