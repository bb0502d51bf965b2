"""Real clusters: node processes on this machine, one of them killed; a Ray of this process only."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ray", reason="needs the extra [ray]")
pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra [ray]")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="Ray forbids clusters of node processes"),
]
TIMEOUT = 600
"""Seconds after which a test fails; a machine with a load of 20 on two cores takes a quarter."""
STORE_BYTES = 80 << 20
NODE = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
LARGE = 40
"""Images that take long enough for a node to be killed before all are predicted."""


@pytest.fixture(scope="module")
def cluster():
    """A cluster of three node processes: the head without cores, two machines with one each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        folder = tempfile.mkdtemp(prefix="fashioncnn-test-", dir="/tmp")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # Ray writes the cluster's address there, and does not create it if temp_dir is set.
        patch.setenv("RAY_TMPDIR", folder)
        Path(folder, "ray").mkdir()
        head = {**NODE, "num_cpus": 0, "temp_dir": folder}
        head["_system_config"] = {"health_check_period_ms": 1000}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        stack.callback(cluster.shutdown)
        cluster.workers = [cluster.add_node(num_cpus=1, wait=False, **NODE) for _ in range(2)]
        cluster.wait_for_nodes()
        yield cluster


@pytest.fixture
def images(small):
    """Large images of noise, one file with many names, and small ones, of which one is damaged."""
    Path("images").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (3000, 3000), np.uint8)
    Image.fromarray(noise).save("images/large-00.png", compress_level=1)
    for number in range(1, LARGE):
        os.link("images/large-00.png", f"images/large-{number:02}.png")
    for number in range(10):
        Image.fromarray(small.test.images[number]).save(f"images/small-{number}.png")
    Path("images/small-5.png").write_bytes(b"text")
    return "images"


class Command:
    """``fashioncnn predict`` in a process of its own."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "fashioncnn", "predict", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def finish(self):
        """Return exit code, stdout and stderr."""
        try:
            out, err = self.process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            pytest.fail(f"no end after {TIMEOUT} seconds: {err}")
        return self.process.returncode, out, err

    def wait_for_parts(self, folder, number):
        """Wait until a number of parts is written; fail if the command ends before."""
        limit = time.monotonic() + TIMEOUT
        while len(list(Path(folder).glob("part-*.parquet"))) < number:
            if self.process.poll() is not None or time.monotonic() > limit:
                self.process.kill()
                pytest.fail("\n".join(self.process.communicate()))
            time.sleep(0.01)


def plain_predictions(images, model):
    """Return the records of ``predict`` without Ray, by source."""
    code, out, err = Command(images, "--model", model, "--format", "jsonl").finish()
    assert code == 1, err
    return {record["source"]: record for record in map(json.loads, out.splitlines())}


def assert_predictions_equal(folder, expected):
    rows = sorted(pq.read_table(folder).to_pylist(), key=lambda row: row["index"])
    assert [row["source"] for row in rows] == list(expected), "each image once, in order"
    for row in rows:
        record = expected[row["source"]]
        for key in ("error", "abstained", "several_garments"):
            assert row[key] == record[key]
        assert row["confidence"] == pytest.approx(record["confidence"], abs=1e-5)
        for rank, top in enumerate(record["top"], 1):
            assert row[f"probability_{rank}"] == pytest.approx(top["probability"], abs=1e-5)
        if record["top"]:
            assert (row["code_1"], row["name_1"]) == (
                record["top"][0]["code"],
                record["top"][0]["name"],
            )


def test_a_killed_node_loses_no_image(cluster, images, onnx_folder):
    expected = plain_predictions(images, onnx_folder)
    options = ["--model", "model", "--out", "out", "--shard-size", "2"]  # names of this folder
    command = Command(images, *options, "--ray", cluster.address)
    command.wait_for_parts("out", 2)
    cluster.remove_node(cluster.workers.pop(), allow_graceful=False)  # SIGKILL
    at_kill = len(list(Path("out").glob("part-*.parquet")))
    code, out, err = command.finish()
    assert (code, out) == (1, ""), err
    assert at_kill < len(expected) // 2, "the node was killed during the job"
    first, second, *_, last = err.splitlines()
    assert first == f"Ray on the cluster at {cluster.address}: 3 machines, 2 cores"
    assert second == "wrote out: 50 images in 25 files"
    assert last == "fashioncnn: 1 of 50 images could not be read"
    assert len(err.splitlines()) == 4, "no message of Ray; one that the model is for other images"
    assert_predictions_equal("out", expected)
    manifest = json.loads(Path("out/_manifest.json").read_text())
    assert (manifest["images"], len(manifest["parts"])) == (50, 25)
    assert sorted(path.name for path in Path("out").iterdir())[:3] == [
        "_inputs",
        "_job.json",
        "_manifest.json",
    ]


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_keeps_what_is_finished(cluster, images, onnx_folder, number, code, message):
    arguments = [images, "--model", "model", "--out", "out", "--shard-size", "2"]
    command = Command(*arguments, "--ray", cluster.address)
    command.wait_for_parts("out", 1)
    command.process.send_signal(number)
    got, out, err = command.finish()
    assert (got, out) == (code, ""), err
    assert err.splitlines()[-2:] == [
        "finished files are kept in out; run the same command to continue",
        f"fashioncnn: {message}",
    ]
    assert not Path("out/_manifest.json").exists()
    finished = sorted(Path("out").glob("part-*.parquet"))
    assert 1 <= len(finished) < 25
    assert all(pq.read_metadata(path).num_rows == 2 for path in finished)


LOCAL = """
import os, sys
from pathlib import Path

from fashioncnn.cluster.engine import connect

def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [child, *children(child)]
    return found

with connect(None) as cluster:
    import ray
    from ray._common.usage import usage_lib

    print("not a result")
    print("usage statistics", usage_lib.usage_stats_enabled(), file=sys.stderr)
    pids = [str(os.getpid()), *children(os.getpid())]
    files = [f for pid in pids for f in Path(f"/proc/{pid}/fd").glob("*") if f.is_symlink()]
    sockets = set(map(os.readlink, files))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                print("listens", fields[1].rpartition(":")[0], file=sys.stderr)
"""
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same in IPv6, and ::1, as Linux prints them."""


def test_ray_on_this_machine_listens_on_loopback_only_and_reports_nothing():
    done = subprocess.run(
        [sys.executable, "-c", LOCAL], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "stdout belongs to results"
    assert "usage statistics False" in done.stderr.splitlines()
    listening = {line.split()[1] for line in done.stderr.splitlines() if "listens" in line}
    assert listening
    assert listening <= LOOPBACK
