"""The examples of the guide: requests, the systemd unit, the steps of the container file."""

import json
import os
import re
import shlex
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from .conftest import TIMEOUT, encode, shirt

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide"
FENCE = re.compile(r"^```(\w+) *([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language, info="no-run"):
    return [
        m[3] for m in FENCE.finditer((GUIDE / page).read_text()) if (m[1], m[2]) == (language, info)
    ]


def without_numbers(text):
    return re.sub(r"\d[\d.e-]*", "0", text).strip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_requests(server, tmp_path):
    for name in ("shoe.jpg", "coat.jpg"):
        (tmp_path / name).write_bytes(encode(shirt(300, "RGB"), "JPEG"))
    (tmp_path / "notes.txt").write_text("text")
    found = list(FENCE.finditer((GUIDE / "serve.md").read_text()))
    examples = [
        (block[3], following[3])
        for block, following in pairwise(found)
        if block[2] == "no-run curl"
    ]
    assert len(examples) >= 4
    for command, expected in examples:
        words = shlex.split(command.replace("http://127.0.0.1:8000", server.url))
        done = subprocess.run(
            [*words, "--silent"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        json.loads(done.stdout)
        pieces = [re.escape(without_numbers(piece)) for piece in expected.split("…")]
        pattern = ".*".join(pieces).replace("Sneaker", ".*")
        assert re.match(pattern, without_numbers(done.stdout)), (expected, done.stdout)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_unit(tmp_path):
    (unit,) = blocks("deploy.md", "ini")
    path = tmp_path / "fashioncnn.service"
    path.write_text(unit.replace("/opt/fashioncnn/bin/fashioncnn", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False
    )
    problems = [line for line in done.stderr.splitlines() if "fashioncnn.service" in line]
    assert problems == []


DEBIAN_PYTHON = Path("/usr/bin/python3")


@pytest.mark.slow
@pytest.mark.skipif(
    not (DEBIAN_PYTHON.exists() and Path("/etc/debian_version").exists()), reason="needs Debian"
)
def test_container_file(tmp_path):
    """All steps but apt-get and USER, in a copy of the checkout; then its command serves."""
    (text,) = blocks("deploy.md", "dockerfile")
    source = tmp_path / "src"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "notebooks")
    )
    home, environment = tmp_path / "opt", {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    environment |= {k: v for k, v in os.environ.items() if k.lower().startswith(("pip_", "http"))}
    command = None
    for line in text.splitlines():
        step, _, rest = line.replace("/opt/fashioncnn", str(home)).partition(" ")
        if step == "RUN" and "apt-get" not in rest:
            subprocess.run(["bash", "-c", rest], cwd=source, env=environment, check=True)
        elif step == "ENV":
            name, _, value = rest.partition("=")
            environment[name] = value.replace("/tmp", str(tmp_path))
        elif step == "CMD":
            command = json.loads(rest)
    assert command is not None
    check_serves([*command, "--port", "0"], environment, tmp_path)


def check_serves(command, environment, folder):
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            line = process.stderr.readline().decode()
            port = re.search(r"http://\S+:(\d+)", line)
            assert port, line + process.stderr.read().decode()
            url = f"http://127.0.0.1:{port[1]}/v1/predict"
            answer = httpx.post(url, content=encode(shirt()), timeout=TIMEOUT)
            assert answer.status_code == 200, answer.text
        finally:
            process.terminate()
        assert process.wait(TIMEOUT) == 0
