"""Download and verify the official files of Fashion-MNIST."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fashioncnn.data.dataset import FASHION_MNIST
from fashioncnn.data.http import DownloadError, Limits, receive
from fashioncnn.errors import DataError
from fashioncnn.files import atomic_file, cache_folder
from fashioncnn.reading import CHUNK_BYTES, open_regular, reason

MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
"""Publishers of the official files: Zalando Research, Keras, Zalando Research's repository."""
REMEDY = (
    "give its folder with --data or FASHIONCNN_DATA, or use the built-in drawings with --data "
    "sketches"
)
"""What to do where the files are not available."""
MAX_OFFICIAL_BYTES = 64 << 20
"""Larger files are not the official ones, whatever their SHA-256; the largest has 47 MB."""


@dataclass(frozen=True)
class OfficialFile:
    """One of the four files of Fashion-MNIST.

    Attributes:
        name: without the suffix ``.gz``.
        size: in bytes, gzipped.
        sha256_gzipped: SHA-256 of the file as published.
        sha256: SHA-256 of its uncompressed content.
    """

    name: str
    size: int
    sha256_gzipped: str
    sha256: str

    @property
    def role(self) -> str:
        """``train-images``, ``train-labels``, ``t10k-images`` or ``t10k-labels``."""
        return self.name.partition("-idx")[0]


OFFICIAL_FILES = (
    OfficialFile(
        "train-images-idx3-ubyte",
        26421880,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    OfficialFile(
        "train-labels-idx1-ubyte",
        29515,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    OfficialFile(
        "t10k-images-idx3-ubyte",
        4422102,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    OfficialFile(
        "t10k-labels-idx1-ubyte",
        5148,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)


def is_official_file(role: str, path: Path) -> bool:
    """Whether a file is the official one of its role, gzipped or not, by its SHA-256.

    Raises:
        DataError: it cannot be read.
    """
    try:
        digest = _sha256(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from None
    return any(
        file.role == role and digest in (file.sha256_gzipped, file.sha256)
        for file in OFFICIAL_FILES
    )


def fetch_fashion_mnist(
    *,
    offline: bool = False,
    refresh: bool = False,
    mirrors: tuple[str, ...] = MIRRORS,
    notify: Callable[[str], None] = lambda _: None,
    progress: bool = False,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    remedy: str = REMEDY,
) -> Path:
    """Return the cache folder with the four official files; download those that are missing.

    A file is downloaded under a temporary name and renamed after its size and SHA-256 are verified.
    No more than its known size is received.

    Args:
        offline: raise instead of downloading.
        refresh: verify files that are in the cache, and download damaged ones again.
        mirrors: base URLs, tried in this order for each file.
        notify: called with a one-line message before each attempt.
        progress: show a progress bar on stderr.
        limits: when a mirror is given up.
        remedy: what a message says to do where the files are not available.

    Raises:
        DataError: a file is missing or damaged, and no mirror provided it.
    """
    folder = cache_folder() / FASHION_MNIST
    for file in OFFICIAL_FILES:
        path = folder / f"{file.name}.gz"
        if path.exists() and (not refresh or _is_intact(path, file)):
            continue
        if offline:
            problem = "damaged" if path.exists() else "missing"
            raise _unavailable(f"{path} is {problem}, and --offline is set", remedy)
        folder.mkdir(parents=True, exist_ok=True)
        failures = _download(file, path, mirrors, notify, progress, limits)
        if failures:
            reasons = "; ".join(failures)
            raise _unavailable(f"{path.name} could not be downloaded ({reasons})", remedy)
    return folder


def _download(
    file: OfficialFile,
    path: Path,
    mirrors: tuple[str, ...],
    notify: Callable[[str], None],
    progress: bool,
    limits: Limits,
) -> list[str]:
    """Write the file from the first mirror that provides it; if none does, return why not."""
    failures = []
    for mirror in mirrors:
        host = mirror.split("/")[2]
        notify(f"{path.name} ({file.size / 1e6:.1f} MB) from {host}")
        chunks = receive(f"{mirror}{path.name}", file.size, limits)
        try:
            with closing(chunks), atomic_file(path) as output, _progress_bar(file, progress) as bar:
                digest = hashlib.sha256()
                for chunk in chunks:
                    output.write(chunk)
                    digest.update(chunk)
                    bar(len(chunk))
                if digest.hexdigest() != file.sha256_gzipped:
                    raise DownloadError("wrong content (its SHA-256 differs)")
        except DownloadError as error:
            failures.append(f"{host}: {error}")
        else:
            return []
    return failures


@contextmanager
def _progress_bar(file: OfficialFile, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr; yields a function to call with each number of bytes."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=file.size)
        yield lambda size: bar.update(task, advance=size)


def _unavailable(reason: str, remedy: str) -> DataError:
    return DataError(f"Fashion-MNIST is not available: {reason}; {remedy}")


def _is_intact(path: Path, file: OfficialFile) -> bool:
    try:
        return path.stat().st_size == file.size and _sha256(path) == file.sha256_gzipped
    except OSError:
        return False


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a regular file; of the first `MAX_OFFICIAL_BYTES` if it is larger."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        for _ in range(MAX_OFFICIAL_BYTES // CHUNK_BYTES):
            digest.update(file.read(CHUNK_BYTES))
    return digest.hexdigest()
