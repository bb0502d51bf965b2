"""Arrays, tensors, PIL images and paths of users as views."""

import os
from io import BytesIO, StringIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.errors import ImageError, UsageError
from fashioncnn.inference.arrays import as_images, as_views, load_images

from ..idx import write_idx

FASHION = Preprocessing(28, 0.0, 1.0, "fashion")
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
IMAGE = IMAGES[0]


@pytest.mark.parametrize(
    "form",
    [
        IMAGE,
        IMAGE[None],
        IMAGE[None, None],
        IMAGE[None, ..., None],
        IMAGE.astype(np.int64),
        IMAGE / 255,
        (IMAGE / 255).astype(np.float32),
        torch.from_numpy(IMAGE),
        torch.from_numpy(IMAGE)[None, None] / 255,
        (torch.from_numpy(IMAGE) / 255).double(),
        (torch.from_numpy(IMAGE) / 255).requires_grad_(),
        Image.fromarray(IMAGE),
        [IMAGE],
        (Image.fromarray(IMAGE),),
    ],
    ids=lambda form: f"{type(form).__name__} {getattr(form, 'dtype', '')}",
)
def test_forms_of_one_image_are_equal(form):
    np.testing.assert_array_equal(as_images(form, FASHION), IMAGE[None])


def test_bfloat16_tensors_are_accepted():
    tensor = torch.tensor([[0.0, 1.0], [0.5, 0.25]], dtype=torch.bfloat16)
    (views,) = as_views(tensor, Preprocessing(2, 0.0, 1.0, "fashion"))
    np.testing.assert_array_equal(views, [[[0, 255], [128, 64]]])


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_files_are_read(kind, tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    np.testing.assert_array_equal(as_images(kind(tmp_path / "a.png"), FASHION), IMAGE[None])
    with pytest.raises(ImageError, match=r"b\.png"):
        as_views(kind(tmp_path / "b.png"), FASHION)


def test_sequences_of_different_types_keep_their_order():
    mixed = [Image.fromarray(IMAGES[0]), IMAGES[1], [IMAGES[2:4]], torch.from_numpy(IMAGES[4])]
    np.testing.assert_array_equal(as_images(mixed, FASHION), IMAGES)
    assert as_images([], FASHION).shape == (0, 28, 28)


def test_arrays_of_the_image_size_are_one_unchanged_view():
    for mode in ("fashion", "photo", "cutout"):
        (views,) = as_views(IMAGE, Preprocessing(28, 0.0, 1.0, mode))
        np.testing.assert_array_equal(views, IMAGE[None])


def test_other_arrays_are_converted_like_files(tmp_path):
    large = np.zeros((100, 60), np.uint8)
    large[20:80, 20:40] = 255
    Image.fromarray(large).save(tmp_path / "a.png")
    of_array, of_file = (as_images(form, FASHION) for form in (large, tmp_path / "a.png"))
    np.testing.assert_array_equal(of_array, of_file)
    assert of_array.shape == (1, 28, 28)


def test_photographs_have_several_views():
    photograph = Image.fromarray(np.full((60, 80, 3), 200, np.uint8))
    (views,) = as_views(photograph, Preprocessing(28, 0.0, 1.0, "photo"))
    assert len(views) > 3
    assert as_images(photograph, Preprocessing(28, 0.0, 1.0, "photo")).shape == (1, 28, 28)


def png(image):
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_pandas_objects_are_read(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(IMAGES.reshape(5, 784))
    np.testing.assert_array_equal(as_images(frame, FASHION), IMAGES)
    np.testing.assert_array_equal(as_images(pandas.Series(list(IMAGES)), FASHION), IMAGES)
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    paths = pandas.Series([str(tmp_path / "a.png")] * 2)
    np.testing.assert_array_equal(as_images(paths, FASHION), IMAGES[[0, 0]])


COLOR = np.random.default_rng(1).integers(0, 256, (5, 40, 30, 3), np.uint8)
ALPHA = np.full((5, 40, 30, 1), 128, np.uint8)


def of_image(pixels, preprocessing=FASHION):
    """Return the view of pixels in a file."""
    return as_images(png(Image.fromarray(pixels)), preprocessing)[0]


@pytest.mark.parametrize(
    "form",
    [
        IMAGES,
        IMAGES.reshape(5, 784),
        IMAGES.reshape(5, 784).tolist(),
        IMAGES.tolist(),
        list(IMAGES.reshape(5, 784)),
        IMAGES[:, None],
        IMAGES[..., None],
        IMAGES.astype(np.float32),
        IMAGES.reshape(5, 784) / 255,
        IMAGES.astype(np.uint16) * 257,
        IMAGES.astype(">f4") / 255,
        IMAGES[::-1, ::-1, ::-1][::-1, ::-1, ::-1],
        np.asfortranarray(IMAGES),
        np.ma.masked_array(IMAGES),
        torch.from_numpy(IMAGES),
        torch.from_numpy(IMAGES)[:, None] / 255,
        torch.from_numpy(IMAGES).reshape(5, 784),
        (image for image in IMAGES),
        map(Image.fromarray, IMAGES),
        np.array([Image.fromarray(image) for image in IMAGES] + [None], object)[:5],
        [IMAGES[:3], IMAGES[3:]],
    ],
    ids=lambda form: f"{type(form).__name__} {getattr(form, 'shape', '')}",
)
def test_forms_of_five_images_are_equal(form):
    np.testing.assert_array_equal(as_images(form, FASHION), IMAGES)


@pytest.mark.parametrize(
    "form",
    [
        COLOR,
        COLOR / 255,
        COLOR.astype(np.float32),
        np.moveaxis(COLOR, 3, 1),
        torch.from_numpy(COLOR).permute(0, 3, 1, 2) / 255,
        list(COLOR),
        [Image.fromarray(pixels) for pixels in COLOR],
        [torch.from_numpy(pixels) for pixels in COLOR],
    ],
    ids=lambda form: f"{type(form).__name__} {getattr(form, 'shape', '')}",
)
@pytest.mark.parametrize("mode", ["fashion", "plain", "photo"])
def test_forms_of_color_images_are_equal(form, mode):
    preprocessing = Preprocessing(28, 0.0, 1.0, mode)
    expected = np.stack([of_image(pixels, preprocessing) for pixels in COLOR])
    np.testing.assert_array_equal(as_images(form, preprocessing), expected)


def test_alpha_in_arrays_is_that_of_files():
    pixels = np.concatenate([COLOR, ALPHA], axis=3)
    expected = np.stack([of_image(one) for one in pixels])
    np.testing.assert_array_equal(as_images(pixels, FASHION), expected)
    np.testing.assert_array_equal(as_images(pixels[0], FASHION), expected[:1])


def test_three_axes_are_images_or_one_color_image():
    """(3, 28, 28) is three gray images of the model's size; of another size it is rejected."""
    assert len(as_views(IMAGES[:3], FASHION)) == 3
    assert len(as_views(COLOR[0], FASHION)) == 1
    assert len(as_views(COLOR[0, ..., :1], FASHION)) == 1
    assert len(as_views(COLOR[:4, ..., 0], FASHION)) == 4
    assert len(as_views(COLOR[:1, ..., 0], FASHION)) == 1
    color = Preprocessing(28, 0.0, 1.0, "plain", channels=3)
    with pytest.raises(UsageError, match=r"shape \(3, 28, 28\): unclear"):
        as_views(IMAGES[:3], color)  # or one image, channels first
    assert as_images(COLOR, color).shape == (5, 28, 28, 3)
    with pytest.raises(UsageError, match=r"shape \(3, 40, 30\): unclear, \(1, 3, 40, 30\) is one"):
        as_views(COLOR[:3, ..., 0], FASHION)


def test_square_arrays_that_may_be_flattened_images_are_rejected():
    square = np.zeros((64, 64), np.uint8)
    with pytest.raises(UsageError, match=r"unclear, one image, or 64 flattened"):
        as_views(square, Preprocessing(8, 0.0, 1.0, "fashion"))
    assert len(as_views(square, FASHION)) == 1
    assert len(as_views(square[:7], Preprocessing(8, 0.0, 1.0, "fashion"))) == 7


def test_rows_of_another_size_are_not_one_image():
    with pytest.raises(UsageError, match=r"rows are flattened images only if they have 28² values"):
        as_views(np.zeros((8, 1024), np.uint8), FASHION)


SMOOTH = np.add.outer(np.linspace(0, 150, 90), np.linspace(0, 100, 70)).astype(np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(SMOOTH),
        Image.fromarray(SMOOTH / np.float32(255)),
        Image.fromarray(SMOOTH.astype(np.float32)),
        Image.fromarray(SMOOTH.astype(np.int32)),
        Image.fromarray(SMOOTH.astype(np.int32) * 257),
        Image.fromarray(SMOOTH.astype(np.uint16)),
        Image.fromarray(SMOOTH.astype(np.uint16) * 257),
        Image.fromarray(SMOOTH).convert("I"),
        Image.fromarray(SMOOTH).convert("F"),
        Image.fromarray(SMOOTH).convert("I;16"),
        Image.fromarray(SMOOTH).convert("RGB"),
        Image.fromarray(SMOOTH).convert("LA"),
        Image.fromarray(SMOOTH).convert("P"),
    ],
    ids=lambda image: f"{image.mode} {image.getextrema()}",
)
def test_pil_images_of_every_mode_are_equal(image):
    np.testing.assert_array_equal(as_images(image, FASHION)[0], of_image(SMOOTH))


def test_bits_are_black_and_white():
    bits = SMOOTH > 90
    expected = of_image(np.where(bits, 255, 0).astype(np.uint8))
    for form in (bits, Image.fromarray(bits), bits.astype(np.float64), torch.from_numpy(bits)):
        np.testing.assert_array_equal(as_images(form, FASHION)[0], expected)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(np.full((9, 9), -1, np.float32)),
        Image.fromarray(np.full((9, 9), 1e6, np.float32)),
        Image.fromarray(np.full((9, 9), np.nan, np.float32)),
        Image.fromarray(np.full((9, 9), -1, np.int32)),
        Image.fromarray(np.full((9, 9), 70000, np.int32)),
        Image.fromarray(np.eye(9, dtype=np.int32)),
    ],
    ids=lambda image: f"{image.mode} {image.getextrema()}",
)
def test_pil_images_of_unclear_values_are_rejected(image):
    with pytest.raises(UsageError, match="values of"):
        as_views(image, FASHION)


FILES = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "WEBP": {},
    "GIF": {},
    "BMP": {},
    "TIFF": {},
    "AVIF": {},
    "PPM": {},
}


def photograph():
    """Return a photograph of 1400×1000 pixels: it is reduced when it is decoded."""
    rng = np.random.default_rng(4)
    rough = Image.fromarray(rng.integers(0, 256, (11, 15, 3), np.uint8))
    return rough.resize((1400, 1000), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("image_format", "mode"), [*((name, "plain") for name in FILES), ("JPEG", "photo")]
)
def test_views_do_not_depend_on_how_an_image_is_passed(tmp_path, image_format, mode):
    preprocessing = Preprocessing(28, 0.0, 1.0, mode)
    path = tmp_path / f"a.{image_format.lower()}"
    exif = Image.Exif()
    exif[0x0112] = 6
    options = FILES[image_format]
    if image_format in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF"):
        options = {**options, "exif": exif}
    photograph().save(path, image_format, **options)
    content = path.read_bytes()
    (expected,) = as_views(path, preprocessing)
    with path.open("rb") as file, Image.open(path) as opened, path.open("rb", 0) as raw:
        at_end = BytesIO(content)
        at_end.seek(0, 2)
        forms = [str(path), PathLike(path), content, bytearray(content), memoryview(content)]
        forms += [BytesIO(content), at_end, file, raw, opened, Image.open(BytesIO(content))]
        for form in forms:
            (views,) = as_views(form, preprocessing)
            np.testing.assert_array_equal(views, expected, err_msg=type(form).__name__)
    with Image.open(path) as loaded:
        loaded.load()
        (views,) = as_views(loaded, preprocessing)
    difference = np.abs(views.astype(int) - expected).mean()
    assert difference < 0.5 if image_format == "JPEG" else difference == 0


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize("highest", [200, 40_000])
def test_16_bit_files_are_equal_by_path_and_opened(tmp_path, image_format, highest):
    """Also dark ones: in a file, white is 65535, whatever the highest value."""
    values = np.linspace(0, highest, 100 * 60).reshape(100, 60).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a", image_format)
    expected = of_image(np.round(values / 257).astype(np.uint8))
    np.testing.assert_array_equal(as_images(tmp_path / "a", FASHION)[0], expected)
    with Image.open(tmp_path / "a") as image:
        np.testing.assert_array_equal(as_images(image, FASHION)[0], expected)


class PathLike:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return os.fspath(self.path)


def test_orientation_is_applied_once():
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = BytesIO()
    photograph().save(buffer, "JPEG", exif=exif)
    expected = as_images(buffer, FASHION)
    upright = ImageOps.exif_transpose(Image.open(buffer))
    converted = Image.open(buffer).convert("RGB")
    for image in (upright, converted):
        assert np.abs(as_images(image, FASHION).astype(int) - expected).mean() < 0.5


def test_files_that_pillow_opened_are_closed(tmp_path):
    """As by `Image.load`; thousands of images may be passed like this."""
    photograph().save(tmp_path / "a.jpg")
    image = Image.open(tmp_path / "a.jpg")
    as_views(image, FASHION)
    assert image.fp is None


def test_opened_image_is_not_changed():
    buffer = BytesIO()
    photograph().save(buffer, "JPEG")
    image = Image.open(buffer)
    as_views(image, FASHION)
    assert image.size == (1400, 1000)
    assert np.asarray(image).shape == (1000, 1400, 3)
    small = Image.open(buffer)
    small.draft("L", (300, 300))
    assert as_images(small, FASHION).shape == (1, 28, 28)
    closed = Image.open(buffer)
    closed.close()
    with pytest.raises(ImageError, match="cannot be decoded"):
        as_views(closed, FASHION)


def test_images_of_a_folder_are_read_in_order(tmp_path):
    (tmp_path / "in").mkdir()
    for name, image in zip(("a.png", "b.bmp", "in/c.tiff"), IMAGES, strict=False):
        Image.fromarray(image).save(tmp_path / name)
    np.testing.assert_array_equal(as_images(tmp_path, FASHION), IMAGES[:3])
    (tmp_path / "notes.txt").touch()
    with pytest.warns(UserWarning, match=r"skipped 1 file that is not an image: .*notes.txt"):
        np.testing.assert_array_equal(as_images(str(tmp_path), FASHION), IMAGES[:3])
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "in" / "d.png").write_bytes(b"broken")
    with pytest.raises(ImageError, match=r"^\S+d\.png: not a JPEG"):
        as_views(tmp_path, FASHION)


def test_all_images_that_cannot_be_read_are_listed(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"broken")
    Image.fromarray(IMAGE).save(tmp_path / "b.png")
    message = r"^2 image files cannot be read; repair or remove them: \S*a\.png: .*; \S*c\.png: "
    for form in (tmp_path, str(tmp_path / "*.png"), [tmp_path / f"{x}.png" for x in "abc"]):
        with pytest.raises(ImageError, match=message) as caught:
            as_views(form, FASHION)
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match=r": image 1: bytes: not a .*; image 2: BytesIO: not a"):
        as_views([IMAGE, b"broken", BytesIO(b"broken")], FASHION)
    closed = Image.open(tmp_path / "b.png")
    closed.close()
    with pytest.raises(ImageError, match=r"b\.png: cannot be decoded.*; \S*a\.png: not a"):
        as_views([closed, tmp_path / "a.png"], FASHION)


def test_names_are_paths_or_positions(tmp_path):
    for name, image in zip(("b.png", "a.bmp"), IMAGES, strict=False):
        Image.fromarray(image).save(tmp_path / name)
    inputs = [IMAGES[:2], str(tmp_path), tmp_path / "b.png", Image.fromarray(IMAGE)]
    loaded = load_images(inputs, FASHION)
    paths = [str(tmp_path / name) for name in ("a.bmp", "b.png", "b.png")]
    assert [image.name for image in loaded] == ["image 0", "image 1", *paths, "image 5"]
    assert all(image.views is not None for image in loaded)


def test_patterns_and_idx_files_are_read(tmp_path):
    write_idx(tmp_path / "images-idx3-ubyte", IMAGES)
    np.testing.assert_array_equal(as_images(tmp_path / "images-idx3-ubyte", FASHION), IMAGES)
    for i in (2, 1):
        Image.fromarray(IMAGES[i]).save(tmp_path / f"{i}.png")
    np.testing.assert_array_equal(as_images(str(tmp_path / "*.png"), FASHION), IMAGES[1:3])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "^bytes: an empty file, not a JPEG"),
        (b"text", "^bytes: not a JPEG"),
        (bytearray(b"%PDF"), "^bytearray: a PDF, not a JPEG"),
        (BytesIO(b"text"), "^BytesIO: not a JPEG"),
        ("empty", r"^empty: a folder without images \(JPEG, "),
        ("gone", "^gone: no such file"),
        ("-", "-: no such file"),
        ("gone/*.png", "no matching file"),
        ("https://example.com/a.png", "URLs are not read; download it, and give its path"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BytesIO) else str(value),
)
def test_what_is_not_an_image_is_rejected_in_one_line(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match=reason) as caught:
        as_views(content, FASHION)
    assert "\n" not in str(caught.value)


def test_message_about_a_limit_does_not_name_an_option_of_the_command_line():
    buffer = BytesIO()
    Image.new("1", (8000, 4000)).save(buffer, "PNG")
    with pytest.raises(ImageError, match=r"over the limit of 16 megapixels; resize the image$"):
        as_views(buffer, FASHION)


def test_files_that_cannot_be_read_are_rejected(tmp_path):
    with pytest.raises(UsageError, match=r"opened as text; open it in binary mode"):
        as_views(StringIO("a"), FASHION)
    with (tmp_path / "a").open("wb") as file:
        pass
    with pytest.raises(UsageError, match=r"a: cannot be read \(.*closed"):
        as_views(file, FASHION)


@pytest.mark.parametrize(
    "invalid",
    [
        np.zeros(28),
        np.zeros(()),
        np.zeros((28, 0)),
        np.zeros((2, 28, 28, 5)),
        np.zeros((2, 3, 28, 3)),
        np.zeros((1, 2, 28, 28, 3)),
        np.zeros((0, 0)),
        np.zeros((3, 0, 28)),
        np.full((28, 28), 300),
        np.full((28, 28), -1.0),
        np.full((28, 28), 2.0),
        np.full((28, 28), np.nan),
        np.full((28, 28), "a"),
        np.full((28, 28), 1j),
        np.full((28, 28), None),
        np.ones((28, 28), int),
        np.ma.masked_array(IMAGE, mask=IMAGE > 9),
        torch.zeros(2, 2, 2, 2, 2),
        torch.eye(28).to_sparse(),
        torch.zeros(28, 28, device="meta"),
        IMAGE / 127.5 - 1,
        [[1, 2], [3]],
        {"a": 1},
        {"a.png"},
        7,
        None,
        [None],
        [IMAGE, 7],
        object(),
        range(3),
    ],
    ids=lambda value: (
        f"{type(value).__name__} {getattr(value, 'shape', '')} {getattr(value, 'dtype', '')}"
    ),
)
def test_unsupported_inputs_are_rejected_in_one_line(invalid):
    with pytest.raises(UsageError, match=r"should be|images of type|masked values") as caught:
        as_views(invalid, FASHION)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "form", [list, tuple, lambda images: np.array([*images, None], object)[:-1]]
)
def test_color_images_in_a_list_are_one_image_each(form):
    """Three planes were read as three gray images, so that there were three predictions of each."""
    color = np.random.default_rng(1).integers(0, 256, (4, 3, 28, 28), np.uint8)
    expected = as_images(color, FASHION)
    assert expected.shape == (4, 28, 28)
    for images in (color, torch.from_numpy(color)):
        np.testing.assert_array_equal(as_images(form(list(images)), FASHION), expected)
    np.testing.assert_array_equal(as_images([color[0]], FASHION), expected[:1])
    mixed = as_images([color[0], Image.fromarray(IMAGES[0])], FASHION)
    np.testing.assert_array_equal(mixed, [expected[0], IMAGES[0]])


def test_batches_of_gray_images_in_a_list_are_kept():
    for sizes in ((3, 2), (1, 1, 3), (3, 5)):
        batches = np.split(np.resize(IMAGES, (sum(sizes), 28, 28)), np.cumsum(sizes)[:-1])
        if set(sizes) <= {1, 3}:  # one gray and one color image
            assert len(as_images(batches, FASHION)) == len(sizes)
        else:
            assert len(as_images(batches, FASHION)) == sum(sizes)
    with pytest.raises(UsageError, match=r"\(3, 28, 28\) from an iterator: unclear, one color"):
        as_images(iter([IMAGES[:3], IMAGES[:2]]), FASHION)
