"""Find a data set, fetch it where it is missing, and make sure that it is what it should be.

The order: ``--data``, ``FASHIONCNN_DATA`` (both arrive here as `source`), the cache, a download.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fashioncnn.data.dataset import (
    FASHION_MNIST,
    FASHION_MNIST_CLASSES,
    SKETCHES,
    Dataset,
    Split,
    custom_dataset_name,
    validated_split,
)
from fashioncnn.data.folders import read_class_folders
from fashioncnn.data.idx import read_idx
from fashioncnn.data.sketches import draw_sketches
from fashioncnn.errors import DataError, UsageError
from fashioncnn.files import cache_folder, expand_user

MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
"""Where the official files are published: by their makers, by Keras, in the makers' repository."""


@dataclass(frozen=True)
class OfficialFile:
    """One of the four files of Fashion-MNIST, with the SHA-256 of both of its forms."""

    name: str
    size: int
    packed: str
    unpacked: str

    @property
    def role(self) -> str:
        """What it holds: ``train-images``, ``t10k-labels`` and so on."""
        return self.name.partition("-idx")[0]


OFFICIAL = (
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


def load_dataset(
    source: str | None, *, image_size: int | None = None, offline: bool = False
) -> Dataset:
    """Return the data set that `source` names.

    Args:
        source: ``sketches``; a folder of IDX files; a folder of class folders of images; None
            for Fashion-MNIST from the cache, or downloaded into it.
        image_size: side that images of class folders are brought to, in pixels; None is 28.
        offline: never download.

    Raises:
        UsageError: there is nothing at `source`.
        DataError: what is there is damaged or incomplete, or nothing could be downloaded.
    """
    if source == SKETCHES:
        return draw_sketches()
    if not source:
        return read_idx_folder(fetch_fashion_mnist(offline=offline), must_be_official=True)
    folder = expand_user(source, "data")
    if not folder.is_dir():
        raise UsageError(f"data = {source}: no such folder; name one, or 'sketches'")
    if find_idx_files(folder):
        return read_idx_folder(folder)
    if image_size is not None and not 8 <= image_size <= 256:
        raise UsageError(f"image_size = {image_size}: should be from 8 to 256")
    return read_class_folders(folder, image_size or 28)


def find_idx_files(folder: Path) -> dict[str, Path]:
    """Return the IDX files of a folder by role, such as ``train-images`` or ``t10k-labels``.

    ``test-`` is taken for ``t10k-``; a plain file goes before a gzipped one, a name with nothing
    before ``train`` or ``t10k`` before others. Hidden files are left out.
    """
    found: dict[str, Path] = {}
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    parts = ("train-", "t10k-", "test-")
    # What goes before others comes after them.
    paths.sort(key=lambda path: (not path.name.startswith(parts), path.name), reverse=True)
    for path in paths:
        match = re.search(r"(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?$", path.name)
        if match and path.is_file():
            part = "train" if match[1] == "train" else "t10k"
            found[f"{part}-{match[2]}"] = path
    return found


def read_idx_folder(folder: Path, *, must_be_official: bool = False) -> Dataset:
    """Return the data set of a folder of IDX files, verified.

    Four official files are Fashion-MNIST. Files of which none is official are a data set of their
    own, with the folder's name. A mixture is Fashion-MNIST with a wrong file, and refused.

    Raises:
        DataError: a file is missing, damaged or wrong.
    """
    files = find_idx_files(folder)
    _check_complete(folder, files)
    strange = [role for role, path in files.items() if not _is_official(role, path)]
    if strange and (must_be_official or len(strange) < len(files)):
        path = files[strange[0]]
        if not must_be_official:
            read_idx(path, dimensions=3 if "images" in strange[0] else 1)  # may tell more
        raise DataError(
            f"{path}: not the official file (wrong SHA-256); get it again with "
            "'fashioncnn data --refresh', or name another folder with --data"
        )
    names = _class_names(folder) if strange else FASHION_MNIST_CLASSES
    train = _read_part(files, "train", len(names))
    test = _read_part(files, "t10k", len(names)) if "t10k-images" in files else None
    if test is not None and test.images.shape[1:] != train.images.shape[1:]:
        raise DataError(f"{folder}: training images are {_size(train)}, test images {_size(test)}")
    if strange:
        return Dataset(custom_dataset_name(folder), names, train, test, "plain", str(folder))
    return Dataset(FASHION_MNIST, names, train, test, "fashion", str(folder))


def _check_complete(folder: Path, files: dict[str, Path]) -> None:
    needed = ["train-images", "train-labels"]
    if any(role.startswith("t10k") for role in files):
        needed += ["t10k-images", "t10k-labels"]
    missing = [role for role in needed if role not in files]
    if missing:
        raise DataError(f"{folder}: has no {' and no '.join(missing)} file (IDX)")


def _class_names(folder: Path) -> tuple[str, ...]:
    """Return the lines of ``classes.txt``; without one there are ten classes, 0 to 9."""
    path = folder / "classes.txt"
    if not path.exists():
        return tuple(str(label) for label in range(10))
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from None
    names = [line.strip() for line in lines if line.strip()]
    if not 2 <= len(names) <= 256 or len(set(names)) < len(names):
        raise DataError(f"{path}: must hold 2 to 256 different names, a line each")
    return tuple(names)


def fetch_fashion_mnist(
    *,
    offline: bool = False,
    refresh: bool = False,
    mirrors: tuple[str, ...] = MIRRORS,
    notify: Callable[[str], None] = lambda _: None,
    progress: bool = False,
) -> Path:
    """Return the cache folder with the four official files, downloading what is not there.

    A file comes under a temporary name, is verified, and only then takes its own.

    Args:
        offline: raise instead of downloading.
        refresh: download again what is there but wrong.
        mirrors: tried in this order for each file.
        notify: told what is done, a line at a time.
        progress: draw a bar on stderr.

    Raises:
        DataError: a file is missing and cannot be had.
    """
    folder = cache_folder() / FASHION_MNIST
    for file in OFFICIAL:
        path = folder / f"{file.name}.gz"
        if path.exists() and (not refresh or _sha256(path) == file.packed):
            continue
        if offline:
            raise DataError(_no_data(f"{path.name} is not in {folder}, and --offline is set"))
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

    pooch.get_logger().setLevel("WARNING")  # `notify` says it already

    name = f"{file.name}.gz"
    reasons = []
    for mirror in mirrors:
        host = mirror.split("/")[2]
        notify(f"{name} ({file.size / 1e6:.1f} MB) from {host}")
        try:
            pooch.retrieve(
                mirror + name,
                known_hash=f"sha256:{file.packed}",
                fname=name,
                path=folder,
                downloader=pooch.HTTPDownloader(
                    progressbar=_Bar() if progress else False, timeout=20
                ),
            )
        except (requests.RequestException, OSError, ValueError) as error:
            reasons.append(f"{host}: {type(error).__name__}")
        else:
            return
    raise DataError(_no_data(f"{name} could not be downloaded ({'; '.join(reasons)})"))


class _Bar:
    """A bar for pooch, which sets `total` and calls the rest as it does with tqdm."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

        self._progress = Progress(
            BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=Console(stderr=True)
        )
        self._task = self._progress.add_task("", total=None)
        self.total = 0

    def update(self, size: int) -> None:
        self._progress.start()
        self._progress.update(self._task, advance=size, total=self.total)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.update(self._task, completed=self.total)
        self._progress.stop()


def _no_data(reason: str) -> str:
    return (
        f"no Fashion-MNIST: {reason}; name its folder with --data or FASHIONCNN_DATA, or try the "
        "built-in drawings with --data sketches"
    )


def _read_part(files: dict[str, Path], part: str, classes: int) -> Split:
    images = read_idx(files[f"{part}-images"], dimensions=3)
    labels = read_idx(files[f"{part}-labels"], dimensions=1)
    if images.shape[1] != images.shape[2]:
        raise DataError(
            f"{files[f'{part}-images']}: images of {images.shape[1]}×{images.shape[2]}; only "
            "square ones can be used"
        )
    return validated_split(images, labels, classes, str(files[f"{part}-labels"]))


def _size(split: Split) -> str:
    return f"{split.images.shape[1]}×{split.images.shape[2]}"


def _is_official(role: str, path: Path) -> bool:
    digest = _sha256(path)
    return any(f.role == role and digest in (f.packed, f.unpacked) for f in OFFICIAL)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
