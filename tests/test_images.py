"""One way from a file to the RGB picture a model sees: as a person would see it in a viewer."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ekipl_lab.errors import DataError
from ekipl_lab.images import image_size, read_image, resized, single_colour


def stored(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_photo_is_turned_as_its_exif_says():
    photo = Image.new("RGB", (120, 60), "white")
    photo.paste((255, 0, 0), (0, 0, 60, 60))  # the left half is red
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter clockwise: red is on top
    picture = read_image(stored(photo, "JPEG", exif=exif, quality=95))
    assert picture.image.size == (60, 120) and picture.image.mode == "RGB"
    red, green, _ = picture.image.getpixel((30, 5))
    assert red > 200 and green < 60
    assert picture.notes == ("turned as its EXIF orientation says",)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 4, 5, 6, 7, 8, 99])
def test_a_size_from_the_head_is_that_of_the_picture(kind, orientation):
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.new("RGB", (12, 6), "red").save(buffer, kind, exif=exif)
    picture = read_image(buffer.getvalue())
    assert image_size(buffer.getvalue()) == picture.image.size
    assert picture.image.size == ((6, 12) if 5 <= orientation <= 8 else (12, 6))
    assert bool(picture.notes) == (2 <= orientation <= 8)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(mode):
    drawn = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    drawn.paste((0, 0, 0, 255), (0, 0, 2, 4))  # black on nothing
    picture = read_image(stored(drawn.quantize(4) if mode == "P" else drawn.convert(mode)))
    assert picture.image.getpixel((0, 0)) == (0, 0, 0)
    assert picture.image.getpixel((3, 3)) == (255, 255, 255)
    assert picture.notes == ("transparent parts on white",)


def test_an_opaque_alpha_channel_is_nothing_to_speak_of():
    assert read_image(stored(Image.new("RGBA", (2, 2), (9, 8, 7, 255)))).notes == ()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.linspace(2000, 60000, 4096).astype(np.uint16), "PNG"),
        (np.linspace(2000, 60000, 4096).astype(np.uint16), "TIFF"),
        (np.linspace(0, 4095, 4096).astype(np.uint16), "TIFF"),
        (np.linspace(-7, 1e6, 4096).astype(np.int32), "TIFF"),
        (np.linspace(-3.0, 5.0, 4096).astype(np.float32), "TIFF"),
    ],
)
def test_more_than_eight_bits_keep_their_grey(values, kind):
    picture = read_image(stored(Image.fromarray(values.reshape(64, 64)), kind))
    grey = np.asarray(picture.image)[..., 0].ravel().astype(int)
    assert (grey[0], grey[-1]) == (0, 255) and len(set(grey)) == 256
    assert (np.diff(grey) >= 0).all()
    assert picture.notes == ("stretched from its own range of values",)


def test_floats_from_0_to_1_are_a_share_of_white():
    values = np.array([[0.25, 0.5], [0.5, 0.75]], dtype=np.float32)
    picture = read_image(stored(Image.fromarray(values), "TIFF"))
    assert np.asarray(picture.image)[..., 0].tolist() == [[64, 128], [128, 191]]


def test_one_value_of_16_bits_is_a_share_of_65535():
    flat = Image.fromarray(np.full((2, 2), 32768, dtype=np.uint16))
    assert read_image(stored(flat)).image.getpixel((0, 0)) == (128, 128, 128)


def tiff(pixels, *, photometric=1, kind=1):
    """A TIFF as cameras and scanners write it, which Pillow itself does not."""
    height, width, *several = pixels.shape
    samples = several[0] if several else 1
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    bits = 8 * pixels.itemsize
    shorts = {258: [bits] * samples, 259: [1], 262: [photometric], 277: [samples]}
    tags = {number: (3, values) for number, values in shorts.items()} | {339: (3, [kind] * samples)}
    longs = {256: width, 257: height, 273: 0, 278: height, 279: len(data)}
    tags |= {number: (4, [value]) for number, value in longs.items()}
    behind = 14 + 12 * len(tags)  # what is longer than 4 bytes stands after the directory
    far = {n: struct.pack(f"<{len(v)}H", *v) for n, (t, v) in sorted(tags.items()) if len(v) > 2}
    tags[273] = (4, [behind + sum(map(len, far.values()))])
    entries = b""
    for number, (form, values) in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}{'H' if form == 3 else 'I'}", *values)
        if number in far:
            packed, behind = struct.pack("<I", behind), behind + len(packed)
        entries += struct.pack("<HHI", number, form, len(values)) + packed.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + bytes(4) + b"".join(far.values()) + data


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_tiff_in_which_0_is_white_is_not_a_negative(kind):
    """As X-rays and faxes are stored."""
    shares = np.tile(np.linspace(0, 1, 5), (4, 1))
    top = 1 if kind is np.float32 else np.iinfo(kind).max
    data = tiff((shares * top).astype(kind), photometric=0, kind=3 if kind is np.float32 else 1)
    grey = np.asarray(read_image(data).image)[0, :, 0]
    assert np.allclose(grey, [255, 191, 128, 64, 0], atol=1)


def test_whole_numbers_of_32_bits_above_half_are_not_read_as_negative():
    values = np.tile(np.array([0, 2**30, 2**31, 2**32 - 1], np.uint32), (3, 1))
    grey = np.asarray(read_image(tiff(values)).image)[0, :, 0]
    assert list(grey) == [0, 64, 128, 255]
    signed = np.tile(np.array([-(2**31), 0, 2**31 - 1], np.int32), (3, 1))
    assert list(np.asarray(read_image(tiff(signed, kind=2)).image)[0, :, 0]) == [0, 128, 255]


def test_a_transparent_value_of_16_bits_is_white():
    values = np.tile(np.array([0, 30000, 60000], np.uint16), (3, 1))
    picture = read_image(stored(Image.fromarray(values), "PNG", transparency=0))
    assert list(np.asarray(picture.image)[0, :, 0]) == [255, 128, 255]
    assert picture.notes == (
        "stretched from its own range of values",
        "transparent parts on white",
    )


def test_colours_of_16_bits_are_said_to_be_cut():
    """Those of a camera with 12 bits are nearly black then."""
    pixels = np.full((3, 3, 3), 4000, np.uint16)
    assert read_image(tiff(pixels, photometric=2)).notes == ("colours of 16 bits cut to 8",)
    assert read_image(tiff(pixels.astype(np.uint8), photometric=2)).notes == ()


def test_colours_of_a_png_of_16_bits_are_said_to_be_cut():
    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(">6H", *range(0, 60000, 10000))))
    data = b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")
    assert read_image(data).notes == ("colours of 16 bits cut to 8",)


def test_the_first_frame_is_taken_and_said():
    frames = [Image.new("RGB", (3, 3), colour) for colour in ("red", "blue")]
    data = stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    picture = read_image(data)
    assert picture.image.getpixel((1, 1)) == (255, 0, 0)
    assert picture.notes == ("the first of 2 frames",)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
def test_every_mode_becomes_rgb(mode):
    picture = read_image(stored(Image.new("RGB", (3, 3), "white").convert(mode), "TIFF"))
    assert picture.image.mode == "RGB" and picture.image.getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize(
    "data", [b"", b"not an image", stored(Image.effect_noise((64, 64), 90))[:900]]
)
def test_what_is_no_image_is_an_error(data):
    with pytest.raises(DataError, match="cannot be read"):
        read_image(data)


@pytest.mark.parametrize(
    "wrong", [RuntimeError("decoding failed"), TypeError("Missing dimensions")]
)
@pytest.mark.parametrize("look", [read_image, image_size])
def test_whatever_a_decoder_raises_is_an_error_of_the_image(look, wrong, monkeypatch):
    """Pillow does for damaged AVIF and TIFF files."""

    def fails(*_):
        raise wrong

    monkeypatch.setattr(Image, "open", fails)
    with pytest.raises(DataError, match=f"cannot be read .{wrong}.; replace it"):
        look(b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"])
@pytest.mark.filterwarnings("ignore:Truncated", "ignore:Corrupt")
def test_damaged_files_are_read_or_refused(kind):
    """Whatever byte is another one."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    data, refused = stored(Image.fromarray(pixels), kind), 0
    draws = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(data)
        for at in draws.integers(0, min(len(data), 200), 3):
            damaged[at] = draws.integers(256)
        for look in (read_image, image_size):
            try:
                look(bytes(damaged))
            except DataError:
                refused += 1
    assert refused


def test_pixels_that_are_no_numbers_are_an_error():
    values = np.array([[0.1, np.nan]], dtype=np.float32)
    with pytest.raises(DataError, match="not finite numbers"):
        read_image(stored(Image.fromarray(values), "TIFF"))


def test_shrinking_keeps_the_ratio_and_never_enlarges():
    image = Image.new("RGB", (400, 200))
    assert resized(image, side=100).size == (100, 50)
    assert resized(image, max_pixels=20_000).size == (200, 100)
    assert resized(image, side=100, max_pixels=200).size == (20, 10)
    assert resized(image, side=1000, max_pixels=10**9) is image
    assert resized(Image.new("RGB", (2300, 8)), side=56).size == (56, 1)


def test_few_pixels_are_enlarged_to_as_many():
    assert resized(Image.new("RGB", (10, 40)), min_pixels=1600).size == (20, 80)
    assert resized(Image.new("RGB", (10, 40)), min_pixels=401).size == (11, 41)
    assert resized(Image.new("RGB", (80, 40)), side=20, min_pixels=800).size == (40, 20)


def test_single_colour():
    image = Image.new("RGB", (5, 5), (1, 2, 3))
    assert single_colour(image)
    image.putpixel((0, 0), (1, 2, 4))
    assert not single_colour(image)


def test_a_tiff_of_signed_bytes_keeps_its_order():
    """-50 is darker than 49, and not 206."""
    picture = read_image(tiff(np.arange(-50, 50, dtype=np.int8).reshape(10, 10), kind=2))
    grey = np.asarray(picture.image)[..., 0].ravel()
    assert grey[0] == 0 and grey[-1] == 255 and (np.diff(grey.astype(int)) > 0).all()
    assert picture.notes == ("stretched from its own range of values",)
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tiff(np.zeros((4, 4, 3), dtype=np.int8), photometric=2, kind=2))


def test_cmyk_of_16_bits_is_that_of_8_and_said():
    inks = np.random.default_rng(0).integers(0, 65536, (6, 6, 4)).astype(np.uint16)
    deep, plain = (read_image(tiff(values, photometric=5)) for values in
                   (inks, (inks >> 8).astype(np.uint8)))  # fmt: skip
    assert np.array_equal(np.asarray(deep.image), np.asarray(plain.image))
    assert (deep.notes, plain.notes) == (("colours of 16 bits cut to 8",), ())


def test_many_pixels_are_said_in_our_own_words(recwarn, monkeypatch):
    data = stored(Image.new("1", (150, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    assert read_image(data).notes == ("large (150 x 100 pixels)",)
    assert image_size(data) == (150, 100)
    assert [str(warning.message) for warning in recwarn] == []
    for read in (read_image, image_size):
        with pytest.raises(DataError, match="table has more than 20,000 pixels; make"):
            read(stored(Image.new("1", (300, 100))))
