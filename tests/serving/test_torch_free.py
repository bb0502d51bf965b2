"""The server answers without torch where the model has an ONNX file."""

import re
import subprocess
import sys

import httpx

from .conftest import TIMEOUT, encode, shirt

SCRIPT = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "scipy", "matplotlib"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())

from fashioncnn.cli import main

sys.exit(main(["serve", "accurate", "--port", "0"]))
"""


def test_predicts_and_explains():
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line = process.stderr.readline()
            url = re.search(r"http://\S+:\d+", line)
            assert url, line + process.stderr.read()
            answer = httpx.post(
                f"{url[0]}/v1/predict?explain=true", content=encode(shirt()), timeout=TIMEOUT
            )
            assert answer.status_code == 200, answer.text
            (view,) = answer.json()["predictions"][0]["views"]
            assert view["heat_map"].startswith("data:image/png;base64,")
        finally:
            process.terminate()
        assert process.wait(TIMEOUT) == 0
        assert "Traceback" not in process.stderr.read()
