import subprocess
import sys

import pytest
from fashioncnn.runtime import prepare_prediction, resolve_runtime

from fashioncnn.config import kernels_from_environment
from fashioncnn.errors import ConfigError
from fashioncnn.settings import RuntimeConfig


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells of the parent's size too")
def test_peak_memory_is_that_of_this_process_and_not_of_its_parent():
    code = "from fashioncnn.runtime import peak_memory_bytes; print(peak_memory_bytes())"
    parent = f"""
import subprocess, sys
held = bytearray(400_000_000)
print(subprocess.check_output([sys.executable, "-c", {code!r}], text=True))
"""
    printed = subprocess.check_output([sys.executable, "-c", parent], text=True)
    assert 5e6 < int(printed) < 300e6


def test_kernels_of_predicting_are_told_by_the_environment(monkeypatch):
    from fashioncnn import kernels

    monkeypatch.setenv("FASHIONCNN_KERNELS", "torch")
    assert prepare_prediction("cpu").type == "cpu"
    assert kernels.in_use() == "torch"
    monkeypatch.setenv("FASHIONCNN_KERNELS", "fast")
    with pytest.raises(ConfigError, match=r"FASHIONCNN_KERNELS = fast: should be one of auto"):
        kernels_from_environment()


def test_every_auto_is_resolved():
    resolved = resolve_runtime(RuntimeConfig())
    assert "auto" not in resolved.model_dump().values()
