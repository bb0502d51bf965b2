"""Download and verify the official files of Fashion-MNIST."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fashioncnn.data.dataset import FASHION_MNIST
from fashioncnn.errors import DataError
from fashioncnn.files import cache_folder

MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
"""Publishers of the official files: Zalando Research, Keras, Zalando Research's repository."""
TIMEOUT_SECONDS = 20


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
    """Whether a file is the official one of its role, gzipped or not, by its SHA-256."""
    digest = _sha256(path)
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
) -> Path:
    """Return the cache folder with the four official files; download those that are missing.

    A file is downloaded under a temporary name and renamed after its SHA-256 is verified.

    Args:
        offline: raise instead of downloading.
        refresh: verify files that are in the cache, and download damaged ones again.
        mirrors: base URLs, tried in this order for each file.
        notify: called with a one-line message before each attempt.
        progress: show a progress bar on stderr.

    Raises:
        DataError: a file is missing or damaged, and no mirror provided it.
    """
    folder = cache_folder() / FASHION_MNIST
    for file in OFFICIAL_FILES:
        path = folder / f"{file.name}.gz"
        if path.exists() and (not refresh or _sha256(path) == file.sha256_gzipped):
            continue
        if offline:
            problem = "damaged" if path.exists() else "missing"
            raise _unavailable(f"{path} is {problem}, and --offline is set")
        folder.mkdir(parents=True, exist_ok=True)
        _download(file, folder, mirrors, notify, progress)
    return folder


def _download(
    file: OfficialFile,
    folder: Path,
    mirrors: tuple[str, ...],
    notify: Callable[[str], None],
    progress: bool,
) -> None:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # `notify` reports the same

    name = f"{file.name}.gz"
    failures = []
    for mirror in mirrors:
        host = mirror.split("/")[2]
        notify(f"{name} ({file.size / 1e6:.1f} MB) from {host}")
        try:
            pooch.retrieve(
                mirror + name,
                known_hash=f"sha256:{file.sha256_gzipped}",
                fname=name,
                path=folder,
                downloader=pooch.HTTPDownloader(
                    progressbar=_ProgressBar() if progress else False, timeout=TIMEOUT_SECONDS
                ),
            )
        except (requests.RequestException, OSError, ValueError) as error:
            failures.append(f"{host}: {type(error).__name__}")
        else:
            return
    raise _unavailable(f"{name} could not be downloaded ({'; '.join(failures)})")


class _ProgressBar:
    """A progress bar with the interface that pooch expects: that of tqdm."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

        self._progress = Progress(
            BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=Console(stderr=True)
        )
        self._task = self._progress.add_task("", total=None)
        self.total = 0  # set by pooch

    def update(self, size: int) -> None:
        self._progress.start()
        self._progress.update(self._task, advance=size, total=self.total)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.update(self._task, completed=self.total)
        self._progress.stop()


def _unavailable(reason: str) -> DataError:
    return DataError(
        f"Fashion-MNIST is not available: {reason}; give its folder with --data or "
        "FASHIONCNN_DATA, or use the built-in drawings with --data sketches"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
