"""Compilation, self-test and cache, with fake compilers."""

import ctypes
import os
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch

from fashioncnn.devices import resolve_kernels, resolve_runtime
from fashioncnn.errors import KernelError, UsageError
from fashioncnn.kernels import build, cache, load_kernels, unavailable_reason
from fashioncnn.kernels.self_test import find_fault
from fashioncnn.settings import RuntimeConfig

from .conftest import SANITIZE

CUDA = torch.device("cuda")
COPY = 'for last; do :; done; case "$*" in *" -o "*) cp {library} "$last";; *) exec gcc "$@";; esac'
"""A compiler whose output is the library of this session, ready-made."""


@pytest.fixture
def fake_compiler(monkeypatch, tmp_path, library):
    """Return a function that installs a shell script as the only compiler; the cache is empty.

    ``{library}`` in the script is the library of this session. Commands are logged to ``log``.
    """

    def install(script):
        build._load_once.cache_clear()
        path = tmp_path / "cc"
        log = f'echo "$@" >> {tmp_path}/log'
        path.write_text(f"#!/bin/sh\n{log}\n{script.format(library=library)}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CC", str(path))
        monkeypatch.setattr(build, "COMPILERS", ())
        monkeypatch.setenv("FASHIONCNN_HOME", str(tmp_path / "cache"))

    yield install
    build._load_once.cache_clear()


@pytest.fixture
def reload(tmp_path):
    """Return a function that loads the kernels as in a new process: True if it compiled them."""

    def load():
        log = tmp_path / "log"
        log.write_text("")
        build._load_once.cache_clear()
        assert unavailable_reason() is None
        return " -c " in log.read_text()

    return load


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    build._load_once.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    yield
    build._load_once.cache_clear()


def test_auto_is_torch_without_a_compiler(no_compiler):
    assert "no C compiler" in unavailable_reason()
    assert resolve_runtime(RuntimeConfig(device="cpu")).kernels == "torch"


def test_native_without_a_compiler_is_an_error(no_compiler):
    with pytest.raises(KernelError, match="no C compiler"):
        load_kernels()
    with pytest.raises(UsageError, match=r"kernels = native: .*compiler.*--kernels torch"):
        resolve_runtime(RuntimeConfig(device="cpu", kernels="native"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_auto_is_native_in_both_precisions(native, precision):
    settings = RuntimeConfig(device="cpu", precision=precision)
    assert resolve_runtime(settings).kernels == "native"


def test_native_is_rejected_on_a_gpu():
    with pytest.raises(UsageError, match=r"kernels = native: .*CPU"):
        resolve_kernels("native", CUDA)
    assert resolve_kernels("auto", CUDA) == "torch"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'x.c:1: error: no such thing' >&2; exit 1", "no such thing"),
        ("for last; do :; done; echo text > $last", "does not load"),
        ("exit 0", "does not load"),
    ],
    ids=["error", "no library", "no output"],
)
def test_failing_compiler_is_reported_in_one_line(fake_compiler, script, reason):
    fake_compiler(script)
    message = unavailable_reason()
    assert reason in message
    assert "\n" not in message


def compile_unoptimized(monkeypatch, folder, source, *options):
    """Return kernels compiled with -O0, in a tenth of the time."""
    monkeypatch.setattr(build, "OPTIONS", [*build.OPTIONS, "-O0", *options])
    return build._load(build._compile(source, next(build._compilers()), folder))


MUTATIONS = {
    "Winograd transform": (b"v[1] = even + odd", b"v[1] = even - odd"),
    "one input channel": (b"sum[k] += value", b"sum[k] -= value"),
    "residual": (b"if (has_residual) v +=", b"if (has_residual) v -="),
    "pooling": (b"best += bias;", b"best -= bias;"),
    "bfloat16": (b"bits + 0x7fff +", b"bits + 0x7fffff +"),
    "bfloat16 convolution": (b"bits << shift", b"bits << 8"),
    "Adam": (b"a.shrink * w[i]", b"a.shrink + w[i]"),
    "NaN": (b"const double inverse = 1.0", b"const double inverse = 0.0 / 0.0"),
}


@pytest.mark.skipif(SANITIZE, reason="compiles slowly, and checks no memory access")
@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_self_test_detects_an_incorrect_kernel(native, monkeypatch, tmp_path, mutation):
    original, source = build.read_source(), build.read_source().replace(*mutation)
    assert source != original
    options = [f"-DBF16_CONVOLUTIONS={mutation is MUTATIONS['bfloat16 convolution']:d}"]
    if mutation is MUTATIONS["bfloat16"]:
        options.append("-DLANES=8")  # rounds in software
    mutant = compile_unoptimized(monkeypatch, tmp_path, source, *options)
    assert "differ from PyTorch's" in find_fault(mutant)


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_every_vector_width_passes_the_self_test(native, monkeypatch, tmp_path, lanes):
    """Stand-ins for processors with narrower and wider registers."""
    if lanes == native.vector_width:
        pytest.skip("the width of this processor, tested when it was compiled")
    options = f"-DLANES={lanes}", "-DBF16_CONVOLUTIONS=1"
    kernels = compile_unoptimized(monkeypatch, tmp_path, build.read_source(), *options)
    assert kernels.vector_width == lanes
    assert kernels.bf16_convolutions
    assert find_fault(kernels) is None


def test_self_test_does_not_depend_on_the_callers_modes(native):
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
            assert find_fault(native) is None
    finally:
        torch.set_default_dtype(torch.float32)


def test_self_test_detects_a_compiler_without_openmp(native, monkeypatch):
    monkeypatch.setattr(native, "has_openmp", lambda: 0)
    assert "compiled without OpenMP" in find_fault(native)


def test_self_test_passes_where_the_user_limits_the_threads(native):
    """As by OMP_THREAD_LIMIT, OMP_DYNAMIC or OMP_MAX_ACTIVE_LEVELS."""
    openmp = ctypes.CDLL(None)
    levels = openmp.omp_get_max_active_levels()
    torch.set_num_threads(2)
    openmp.omp_set_max_active_levels(0)
    try:
        assert find_fault(native) is None
    finally:
        openmp.omp_set_max_active_levels(levels)


def test_kernels_that_fail_the_self_test_are_not_cached(fake_compiler, monkeypatch, tmp_path):
    fake_compiler(COPY)
    monkeypatch.setattr(build, "find_fault", lambda kernels: "their results differ")
    assert unavailable_reason() == "their results differ"
    assert not list(tmp_path.glob("cache/kernels/*"))


def test_cached_library_is_used_again(fake_compiler, reload):
    fake_compiler(COPY)
    assert reload()
    assert not reload()


def truncate(path):
    path.write_bytes(path.read_bytes()[:1000])


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_by_text(path):
    """A file with a valid digest that does not load, as on a file system mounted noexec."""
    text = path.with_suffix(".txt")
    text.write_bytes(b"text")
    cache.store(text, path)
    text.unlink()
    assert cache.is_trusted(path)


@pytest.mark.parametrize(
    "damage",
    [truncate, flip_a_byte, replace_by_text, Path.unlink, lambda path: path.chmod(0o666)],
    ids=["truncated", "byte flipped", "does not load", "deleted", "writable by others"],
)
def test_damaged_cached_library_is_compiled_again(fake_compiler, reload, tmp_path, damage):
    fake_compiler(COPY)
    assert reload()
    [cached] = tmp_path.glob("cache/kernels/*")
    assert cached.stat().st_mode & 0o077 == 0
    damage(cached)
    assert reload()
    assert not reload()


def test_library_is_compiled_again_for_other_options(fake_compiler, monkeypatch, reload):
    fake_compiler(COPY)
    assert reload()
    monkeypatch.setattr(build, "OPTIONS", [*build.OPTIONS, "-DOTHER"])
    assert reload()


def test_next_compiler_is_used_if_the_first_fails(fake_compiler, monkeypatch, tmp_path):
    fake_compiler(COPY)
    (tmp_path / "cc").rename(tmp_path / "second")
    fake_compiler("exit 1")
    monkeypatch.setattr(build, "COMPILERS", (str(tmp_path / "second"),))
    assert unavailable_reason() is None


def test_cc_may_contain_arguments(fake_compiler, monkeypatch):
    fake_compiler(f"shift\n{COPY}")
    monkeypatch.setenv("CC", f"{os.environ['CC']} --launcher")
    assert unavailable_reason() is None


def test_cc_with_an_unclosed_quotation_mark_is_ignored(fake_compiler, monkeypatch):
    fake_compiler("exit 1")
    monkeypatch.setenv("CC", "'gcc")
    assert "no C compiler" in unavailable_reason()


def test_missing_temporary_folder_is_reported(fake_compiler, monkeypatch):
    fake_compiler(COPY)

    def fail(*arguments, **options):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", fail)
    assert "no folder to compile them in (No usable temp" in unavailable_reason()


def test_temporary_folder_mounted_noexec_does_not_matter(
    fake_compiler, reload, monkeypatch, tmp_path
):
    fake_compiler(COPY)
    load, cached = build._load, tmp_path / "cache/kernels"

    def load_from_cache(path):
        if not path.is_relative_to(cached):
            raise KernelError("failed to map segment from shared object")
        return load(path)

    monkeypatch.setattr(build, "_load", load_from_cache)
    assert reload()
    assert not reload()
    assert len(list(cached.iterdir())) == 1


def test_cache_that_is_not_writable_does_not_hide_why_a_library_does_not_load(
    fake_compiler, tmp_path
):
    fake_compiler("for last; do :; done; echo text > $last")
    (tmp_path / "cache").write_text("a file")
    assert "does not load" in unavailable_reason()


def test_compiler_that_hangs_is_reported(fake_compiler, monkeypatch):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    fake_compiler(COPY)
    monkeypatch.setattr(subprocess, "run", hang)
    assert "could not be run" in unavailable_reason()


def test_missing_home_folder_disables_the_cache(fake_compiler, monkeypatch):
    fake_compiler(COPY)
    monkeypatch.delenv("FASHIONCNN_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def fail(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", fail)
    assert unavailable_reason() is None


def test_cache_that_is_not_writable_is_ignored(fake_compiler, tmp_path):
    fake_compiler(COPY)
    (tmp_path / "cache").write_text("a file")
    assert unavailable_reason() is None


def test_failed_write_leaves_no_partial_file_in_the_cache(library, tmp_path):
    path = tmp_path / "kernels" / "x.so"
    path.mkdir(parents=True)  # a file cannot replace a folder
    cache.store(library, path)
    assert list(path.parent.iterdir()) == [path]


def test_other_platforms_than_linux_are_not_supported(fake_compiler, monkeypatch):
    fake_compiler(COPY)
    monkeypatch.setattr(build.sys, "platform", "darwin")
    assert "need Linux" in unavailable_reason()
