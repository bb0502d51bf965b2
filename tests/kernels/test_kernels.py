"""The compiled kernels against PyTorch's, in float64."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from fashioncnn.runtime import prepare_torch, report_out_of_memory, resolve_runtime

from fashioncnn import kernels
from fashioncnn.errors import OutOfMemoryError, UsageError
from fashioncnn.kernels import build, conv_pool_relu, convolve
from fashioncnn.kernels.tensors import check_memory
from fashioncnn.settings import RuntimeConfig


@pytest.fixture
def native(compiled):
    reason = kernels.why_not_native()
    if reason:
        pytest.skip(f"no compiled kernels here: {reason}")
    kernels.use("native")


def torch_convolution(images, weight, bias, padding):
    return F.relu(F.max_pool2d(F.conv2d(images, weight, bias, padding=padding), 2))


def is_ours(values):
    """Whether the compiled kernels computed `values`; their order is changed outside of them."""
    return "_Convolution" in str(values.grad_fn.next_functions)


def draw(n, in_channels, height, width, out_channels):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, in_channels, height, width, generator=generator)
    weight = torch.randn(out_channels, in_channels, 3, 3, generator=generator)
    bias = torch.randn(out_channels, generator=generator)
    return images, weight, bias


SHAPES = {
    "first layer": (5, 1, 28, 28, 32, 1),
    "second layer": (5, 32, 14, 14, 64, 1),
    "odd sides, the last row and column dropped": (3, 32, 9, 7, 32, 1),
    "no padding": (3, 32, 8, 6, 64, 0),
    "first layer, odd and not padded": (2, 1, 13, 11, 32, 0),
    "an even number of windows down, an odd one across": (2, 32, 8, 10, 32, 1),
    "wide padding": (2, 32, 6, 6, 32, 2),
    "one window": (1, 32, 4, 4, 32, 0),
    "fewer images than threads": (1, 1, 28, 28, 32, 1),
    "more tiles than a block, and a rest": (7, 64, 14, 14, 96, 1),
}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_values_and_gradients_are_pytorchs(native, shape, threads):
    *sizes, padding = shape
    torch.set_num_threads(threads)
    images, weight, bias = draw(*sizes)
    images = images.to(memory_format=torch.channels_last).requires_grad_(sizes[1] > 1)
    inputs = [t.requires_grad_() for t in (weight, bias)]
    inputs += [images] if images.requires_grad else []
    exact = [t.detach().double().requires_grad_(t.requires_grad) for t in (images, weight, bias)]

    values = conv_pool_relu(images, weight, bias, padding)
    assert is_ours(values), "the compiled kernels were not used"
    expected = torch_convolution(*exact, padding)
    gradient = torch.randn(values.shape, generator=torch.Generator().manual_seed(2))
    ours = torch.autograd.grad(values, inputs, gradient)
    theirs = torch.autograd.grad(
        expected, [exact[1], exact[2], exact[0]][: len(inputs)], gradient.double()
    )
    for mine, exactly in zip((values, *ours), (expected, *theirs), strict=True):
        difference = (mine.double() - exactly).norm() / exactly.norm()
        assert difference < 1e-5, f"relative difference {difference:.1e}"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sides", [(28, 28), (14, 14), (7, 7), (5, 6), (9, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_a_convolution_alone_is_pytorchs(native, sides, padding, threads):
    if min(sides) + 2 * padding < 3:
        pytest.skip("nothing to convolve")
    torch.set_num_threads(threads)
    images, weight, _ = draw(3, 32, *sides, 32)
    images = images.to(memory_format=torch.channels_last).requires_grad_()
    weight.requires_grad_()
    exact = [t.detach().double().requires_grad_() for t in (images, weight)]
    values, expected = convolve(images, weight, padding), F.conv2d(*exact, padding=padding)
    assert is_ours(values), "the compiled kernels were not used"
    assert values.shape == expected.shape
    gradient = torch.randn(values.shape, generator=torch.Generator().manual_seed(2))
    ours = torch.autograd.grad(values, [images, weight], gradient)
    theirs = torch.autograd.grad(expected, exact, gradient.double())
    for mine, exactly in zip((values, *ours), (expected, *theirs), strict=True):
        difference = (mine.double() - exactly).norm() / exactly.norm()
        assert difference < 1e-5, f"relative difference {difference:.1e}"


def test_expanded_weights_get_their_whole_gradient(native):
    images, _, _ = draw(2, 32, 8, 8, 32)
    weight = torch.randn(1, 32, 3, 3, requires_grad=True)
    gradients = [
        torch.autograd.grad(function(images, weight.expand(32, 32, 3, 3)).sum(), weight)[0]
        for function in (lambda x, w: convolve(x, w, 1), lambda x, w: F.conv2d(x, w, padding=1))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def test_saved_images_may_be_laid_out_anew(native):
    images, weight, bias = draw(2, 32, 8, 8, 32)
    images, weight = images.requires_grad_(), weight.requires_grad_()
    expected = torch.autograd.grad(conv_pool_relu(images, weight, bias, 1).sum(), weight)[0]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.contiguous().clone(), lambda t: t):
        values = conv_pool_relu(images, weight, bias, 1)
    assert torch.equal(torch.autograd.grad(values.sum(), weight)[0], expected)


def test_what_has_no_memory_of_its_own_is_left_to_pytorch(native):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        values = convolve(torch.randn(2, 32, 8, 8), torch.randn(32, 32, 3, 3), 1)
    assert values.shape == (2, 32, 8, 8)
    images, weight, _ = draw(2, 32, 8, 8, 32)
    negative = torch._neg_view(images)
    assert torch.equal(convolve(negative, weight, 1), F.conv2d(-images, weight, padding=1))


def test_of_equal_values_one_gets_the_gradient(native):
    """In a plain image all four outputs of a window are the same, but for rounding."""
    images = torch.ones(1, 32, 8, 8, requires_grad=True)
    weight, bias = torch.ones(32, 32, 3, 3, requires_grad=True), torch.zeros(32)
    answers = []
    for function in (conv_pool_relu, torch_convolution):
        values = function(images, weight, bias, 0)
        of_images, of_weight = torch.autograd.grad(values.sum(), [images, weight])
        answers.append((of_images.sum(), of_weight))
    torch.testing.assert_close(*answers)


def test_nothing_passes_back_where_relu_is_shut(native):
    images, weight, _ = draw(2, 32, 8, 8, 32)
    images.requires_grad_()
    values = conv_pool_relu(images, weight, torch.full((32,), -1e6), 1)
    assert not values.any()
    assert not torch.autograd.grad(values.sum(), images)[0].any()


@pytest.mark.parametrize("in_channels", [1, 32])
@pytest.mark.parametrize("place", [(0, 0), (3, 3), (5, 2)])
def test_not_a_number_stays_one(native, in_channels, place):
    """Wherever PyTorch tells of it; Winograd's sums may carry it to more values of its tile."""
    images, weight, bias = draw(1, in_channels, 8, 8, 32)
    images[0, 0, *place] = float("nan")
    told = torch_convolution(images, weight, bias, 1).isnan()
    assert conv_pool_relu(images, weight, bias, 1).isnan()[told].all()


def test_memory_order_does_not_matter(native):
    images, weight, bias = draw(3, 32, 8, 8, 32)
    plain = conv_pool_relu(images, weight, bias, 1)
    other = [t.to(memory_format=torch.channels_last) for t in (images, weight)]
    assert torch.equal(plain, conv_pool_relu(*other, bias, 1))


def test_a_image_gives_the_same_bytes_in_any_company(native):
    images, weight, bias = draw(9, 32, 14, 14, 64)
    together = conv_pool_relu(images, weight, bias, 1)
    alone = torch.cat([conv_pool_relu(image[None], weight, bias, 1) for image in images])
    assert torch.equal(together, alone)


def test_same_threads_same_bytes(native):
    images, weight, bias = draw(16, 32, 14, 14, 64)
    weight.requires_grad_()
    torch.set_num_threads(2)

    def gradient():
        return torch.autograd.grad(conv_pool_relu(images, weight, bias, 1).sum(), weight)[0]

    first = gradient()
    assert all(torch.equal(first, gradient()) for _ in range(5))


def test_a_bias_of_any_memory(native):
    images, weight, _ = draw(2, 32, 8, 8, 32)
    bias = torch.randn(64)[::2]
    for values in (bias, bias[:1].expand(32)):
        torch.testing.assert_close(
            conv_pool_relu(images, weight, values, 1),
            torch_convolution(images, weight, values, 1),
            rtol=1e-4,
            atol=1e-4,
        )


def test_the_defaults_of_new_tensors_do_not_matter(native):
    images, weight, bias = draw(2, 32, 8, 8, 32)
    expected = conv_pool_relu(images, weight.requires_grad_(), bias, 1)
    before = torch.get_default_dtype()
    try:
        for dtype in (torch.float64, torch.bfloat16):
            torch.set_default_dtype(dtype)
            values = conv_pool_relu(images, weight, bias, 1)
            values.sum().backward()
            assert torch.equal(values, expected)
    finally:
        torch.set_default_dtype(before)
    with torch.device("meta"):
        assert torch.equal(conv_pool_relu(images, weight, bias, 1), expected)


def test_frozen_weights_pass_the_gradient_on(native):
    images, weight, bias = draw(2, 32, 8, 8, 32)
    gradients = []
    for function in (conv_pool_relu, torch_convolution):
        images = images.detach().requires_grad_()
        gradients.append(torch.autograd.grad(function(images, weight, bias, 1).sum(), images)[0])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_what_was_begun_with_the_kernels_is_ended_with_them(native):
    """Another part of the program may switch between forward and backward."""
    images, weight, bias = draw(2, 32, 8, 8, 32)
    total = conv_pool_relu(images, weight.requires_grad_(), bias, 1).sum()
    kernels.use("torch")
    total.backward()
    assert weight.grad.isfinite().all()


WRONG = {
    "channels that do not match": lambda: (
        torch.rand(2, 3, 8, 8),
        torch.rand(32, 1, 3, 3),
        torch.rand(32),
        1,
    ),
    "a bias of another length": lambda: (*draw(2, 32, 8, 8, 32)[:2], torch.rand(16), 1),
    "negative padding": lambda: (*draw(2, 32, 8, 8, 32), -1),
    "nothing left": lambda: (*draw(2, 32, 2, 2, 32), 0),
    "another precision": lambda: (
        draw(2, 32, 8, 8, 32)[0].double(),
        *draw(2, 32, 8, 8, 32)[1:],
        1,
    ),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_what_pytorch_refuses_is_refused(native, make):
    arguments = make()
    with pytest.raises(RuntimeError):
        torch_convolution(*arguments)
    with pytest.raises(RuntimeError):
        conv_pool_relu(*arguments)


NOT_OURS = {
    "double precision": lambda: [t.double() for t in draw(2, 32, 8, 8, 32)],
    "odd channels": lambda: draw(2, 3, 8, 8, 32),
    "few outputs": lambda: draw(2, 32, 8, 8, 4),
    "5×5": lambda: (torch.rand(2, 1, 8, 8), torch.rand(32, 1, 5, 5), torch.rand(32)),
    "no images": lambda: draw(0, 32, 8, 8, 32),
    "gradient of one channel": lambda: (
        (drawn := draw(2, 1, 8, 8, 32))[0].requires_grad_(),
        *drawn[1:],
    ),
}


@pytest.mark.parametrize("make", NOT_OURS.values(), ids=NOT_OURS)
def test_what_the_kernels_cannot_do_pytorch_does(native, make):
    images, weight, bias = make()
    ours, theirs = (f(images, weight, bias, 2) for f in (conv_pool_relu, torch_convolution))
    assert torch.equal(ours, theirs)


def test_other_vector_widths_give_the_same(native, tmp_path):
    """Processors with narrower and wider registers, as far as this one can stand in for them."""
    source = tmp_path / "k.c"
    source.write_bytes(build.source())
    for lanes in (4, 8, 16):
        library = tmp_path / f"{lanes}.so"
        compiled = tmp_path / f"{lanes}.o"
        options = [*build.OPTIONS, f"-DLANES={lanes}", "-c", str(source), "-o", str(compiled)]
        compiler = next(build._compilers())
        subprocess.run([*compiler, *options], check=True)
        subprocess.run([*compiler, "-shared", str(compiled), "-o", str(library)], check=True)
        loaded = build._load(library)
        assert loaded.multiple == 2 * lanes
        assert kernels._fault(loaded) is None


def test_without_a_compiler_pytorch_does_it_all(monkeypatch, tmp_path):
    build._outcome.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert "no C compiler" in kernels.why_not_native()
    assert resolve_runtime(RuntimeConfig()).kernels == "torch"
    with pytest.raises(UsageError, match=r"kernels = native: .*compiler.*--kernels torch"):
        resolve_runtime(RuntimeConfig(kernels="native"))


@pytest.fixture
def fake_compiler(monkeypatch, tmp_path):
    """A compiler that does what the script says; the cache is empty.

    Scripts compile with -O0, the last -O of the line, in a tenth of the time: what is kept, checked
    and loaded is the same.
    """

    def make(script):
        build._outcome.cache_clear()
        path = tmp_path / "cc"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CC", str(path))
        monkeypatch.setattr(build, "COMPILERS", ())
        monkeypatch.setenv("FASHIONCNN_HOME", str(tmp_path / "cache"))

    yield make
    build._outcome.cache_clear()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'x.c:1: error: no such thing' >&2; exit 1", "no such thing"),
        ("for last; do :; done; echo nothing > $last", "does not load"),
        ("exit 0", "does not load"),
    ],
)
def test_a_compiler_that_fails_is_told_in_one_line(fake_compiler, script, reason):
    fake_compiler(script)
    told = kernels.why_not_native()
    assert reason in told
    assert "\n" not in told


def test_kernels_that_answer_wrongly_are_never_used(native, monkeypatch, fake_compiler, tmp_path):
    """A compiler that swaps a sign in the source before it compiles it."""
    script = (
        'for a; do case $a in *.c) sed -i "s/v.1. = even + odd/v[1] = even - odd/" $a;; '
        'esac; done; exec gcc "$@" -O0'
    )
    fake_compiler(script)
    assert "answer otherwise than PyTorch" in kernels.why_not_native()
    assert not list(tmp_path.glob("cache/kernels/*"))


def test_a_kept_library_is_used_again_and_a_broken_one_made_anew(native, fake_compiler, tmp_path):
    log = tmp_path / "log"
    fake_compiler(f'echo "$@" >> {log}; exec gcc "$@" -O0')
    code = "from fashioncnn import kernels; assert kernels.why_not_native() is None"

    def compiles():
        log.write_text("")
        subprocess.run([sys.executable, "-c", code], check=True)
        return " -c " in log.read_text()

    assert compiles()
    assert not compiles()
    [kept] = tmp_path.glob("cache/kernels/*")
    kept.write_bytes(kept.read_bytes()[:1000])
    assert compiles()
    assert not compiles()


def test_a_kept_library_that_others_can_write_to_is_not_loaded(fake_compiler, native, tmp_path):
    log = tmp_path / "log"
    fake_compiler(f'echo "$@" >> {log}; exec gcc "$@" -O0')
    assert kernels.why_not_native() is None
    [kept] = tmp_path.glob("cache/kernels/*")
    assert kept.stat().st_mode & 0o077 == 0
    kept.chmod(0o666)
    build._outcome.cache_clear()
    log.write_text("")
    assert kernels.why_not_native() is None
    assert " -c " in log.read_text()


def test_a_kept_library_that_does_not_load_is_made_anew(native, fake_compiler, tmp_path):
    """As on a file system that executes nothing."""
    fake_compiler('exec gcc "$@" -O0')
    compiler = next(build._compilers())
    kept = build._kept_path(build._fingerprint(build.source(), compiler))
    fresh = tmp_path / "no library"
    fresh.write_bytes(b"whole, but no library")
    build._keep(fresh, kept)
    assert build._is_ours_and_whole(kept)
    assert kernels.why_not_native() is None


def test_the_next_compiler_is_tried(native, monkeypatch, fake_compiler):
    fake_compiler("exit 1")
    monkeypatch.setattr(build, "COMPILERS", ("gcc",))
    assert kernels.why_not_native() is None


def test_an_open_quotation_is_no_compiler(fake_compiler, monkeypatch):
    fake_compiler("exit 1")
    monkeypatch.setenv("CC", "'gcc")
    assert "no C compiler here" in kernels.why_not_native()


def test_no_place_to_compile_in_is_told(fake_compiler, monkeypatch):
    fake_compiler('exec gcc "$@"')

    def no_place(*arguments, **options):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", no_place)
    assert "no place to compile them in (No usable temp" in kernels.why_not_native()


def test_too_little_memory_is_told_as_pytorch_tells_it():
    with (
        pytest.raises(OutOfMemoryError, match="a step: not enough memory on cpu; try less"),
        report_out_of_memory("a step", "cpu", "less"),
    ):
        check_memory(1)


def test_a_compiler_with_arguments(native, monkeypatch, fake_compiler):
    fake_compiler('shift; exec gcc "$@" -O0')
    monkeypatch.setenv("CC", f"{os.environ['CC']} --launcher")
    assert kernels.why_not_native() is None


def test_nobodys_home_is_no_fault(native, monkeypatch, fake_compiler):
    fake_compiler('exec gcc "$@" -O0')
    monkeypatch.delenv("FASHIONCNN_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def nobody(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nobody)
    assert kernels.why_not_native() is None


def test_a_cache_that_cannot_be_written_is_no_fault(native, fake_compiler, tmp_path):
    (tmp_path / "cache").write_text("a file")
    fake_compiler('exec gcc "$@" -O0')
    assert kernels.why_not_native() is None


def test_not_on_a_gpu():
    with pytest.raises(UsageError, match=r"kernels = native: they run on the CPU"):
        from fashioncnn.runtime import resolve_kernels

        resolve_kernels("native", torch.device("cuda"))
    assert resolve_kernels("auto", torch.device("cuda")) == "torch"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_auto_takes_them_in_either_precision(native, precision):
    settings = RuntimeConfig(device="cpu", precision=precision)
    assert resolve_runtime(settings).kernels == "native"


def test_convolutions_under_autocast_are_pytorchs(native):
    """In bfloat16 those are the faster ones, of values that begin in float32 too."""
    images, weight, bias = (t.requires_grad_() for t in draw(2, 32, 8, 8, 32))
    with torch.autocast("cpu", torch.bfloat16):
        alone, pooled = convolve(images, weight, 1), conv_pool_relu(images, weight, bias, 1)
        assert torch.equal(alone, F.conv2d(images, weight, padding=1))
        expected = torch_convolution(
            images, weight, bias, 1
        )  # which rounds before it adds the bias
    torch.testing.assert_close(pooled, expected, rtol=1e-2, atol=0.1)
    assert alone.dtype == pooled.dtype == torch.bfloat16
    assert is_ours(convolve(images, weight, 1))


def test_prepare_torch_switches(native):
    prepare_torch(resolve_runtime(RuntimeConfig(kernels="torch")))
    assert kernels.in_use() == "torch"
    prepare_torch(resolve_runtime(RuntimeConfig(kernels="native")))
    assert kernels.in_use() == "native"


def test_threads_are_those_of_torch():
    """No second OpenMP runtime comes into the process with the kernels."""
    if kernels.why_not_native():
        pytest.skip("no compiled kernels here")
    code = """if True:
        from fashioncnn import kernels
        kernels.use('native')
        print(open('/proc/self/maps').read())"""
    maps = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert len({line.split()[-1] for line in maps.splitlines() if "libgomp" in line}) == 1
