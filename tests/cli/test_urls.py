"""URLs in the place of paths: one line that says so, and no folder of that name."""

from pathlib import Path

import numpy as np
import pytest

from fashioncnn import Classifier, UsageError, compare, load_data
from fashioncnn.reading import as_typed, is_url, why_missing

from .conftest import QUICK, command_id

NOT_READ = "URLs are not read; download it, and give its path"


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--data", "https://example.org/x"],
        ["train", "--data", "sketches", "--from", "https://example.org/x"],
        ["train", "--data", "sketches", "--config", "https://example.org/x"],
        ["train", "--resume", "https://example.org/x"],
        ["train", "--data", "sketches", "--set", "distillation.teachers=https://example.org/x"],
        ["evaluate", "https://example.org/x"],
        ["evaluate", "accurate", "--data", "https://example.org/x"],
        ["predict", "a.png", "--model", "https://example.org/x"],
        ["predict", "--from-file", "https://example.org/x"],
        ["export", "https://example.org/x"],
        ["compare", "https://example.org/x", "b"],
        ["report", "https://example.org/x"],
        ["data", "https://example.org/x"],
        ["tune", "--data", "https://example.org/x"],
    ],
    ids=command_id,
)
def test_urls_are_not_read(cli, command):
    assert cli.fails(2, *command).endswith(f"https://example.org/x: {NOT_READ}")


def test_urls_of_images_are_not_read(cli):
    for url in ("http://example.org/a.png", "https://example.org/*.png?x=1", "s3://bucket/a.png"):
        code, _, err = cli("predict", url)
        assert code == 2
        assert f"{url}: {NOT_READ}" in err


@pytest.mark.parametrize(
    "command",
    [
        ["train", *QUICK, "--no-track-test", "--data", "sketches", "--out", "s3://bucket/x"],
        ["export", "accurate", "--out", "s3://bucket/x.onnx"],
        ["export", "accurate", "--out", "s3://bucket/x/"],
        ["predict", "a.png", "--out", "s3://bucket/x.csv"],
        ["predict", "a.png", "--save-views", "s3://bucket/x"],
        ["predict", "a.png", "--ray", "auto", "--out", "s3://bucket/x"],
        ["data", "sketches", "--sheet", "s3://bucket/x.png"],
    ],
    ids=command_id,
)
def test_urls_are_not_written(cli, command):
    message = cli.fails(2, *command)
    assert "s3://bucket/x" in message
    assert "URLs are not written; name a place on this machine" in message
    assert not Path("s3:").exists()


def test_urls_in_python():
    url = "hf://owner/name"
    for call in (load_data, Classifier.load, lambda x: compare(x, x)):
        with pytest.raises(UsageError, match=f"{url}: {NOT_READ}"):
            call(url)
    accurate = Classifier.load("accurate")
    with pytest.raises(UsageError, match=f"{url}: URLs are not written"):
        accurate.save(url)
    with pytest.raises(UsageError, match=f"{url}: {NOT_READ}"):
        Classifier(start=url).fit(np.zeros((2, 28, 28), np.uint8), [0, 1])
    assert not Path("hf:").exists()


@pytest.mark.parametrize("path", ["a/b", "C:/a", "C:\\a", "c:/", "a:b", "./http://a", "sketches"])
def test_paths_are_no_urls(path):
    assert not is_url(path)
    assert (as_typed(path), why_missing(path, "folder")) == (path, "no such folder")


def test_file_urls_need_no_download():
    assert why_missing("file:///tmp/a.png") == "URLs are not read; give its path"
    assert as_typed(Path("https://example.org/a")) == "https://example.org/a"
