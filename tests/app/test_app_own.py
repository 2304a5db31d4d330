"""A reader's own picture: small, of a known kind, decoded here, gone when it is not kept."""

from __future__ import annotations

import base64
import io
import zlib

import pytest
from PIL import Image

from app import own
from ekipl_lab.errors import DataError


def uri(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def image(kind: str = "PNG", size: tuple[int, int] = (30, 20), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 0).save(buffer, kind)
    return buffer.getvalue()


def huge_header(side: int) -> bytes:
    """A PNG of a few bytes that claims side x side pixels."""
    body = b"IHDR" + side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    chunk = (13).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND\xaeB`\x82"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_kept_under_its_key(kind: str) -> None:
    key = own.keep(uri(image(kind), kind.lower()))
    assert own.picture(key).size == (30, 20) and own.picture(key).mode == "RGB"
    assert own.keep(uri(image(kind), kind.lower())) == key


def test_a_large_picture_is_shrunk() -> None:
    assert own.picture(own.keep(uri(image(size=(3000, 1500))))).size == (1024, 512)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "Choose a PNG"),
        ("/etc/passwd", "Choose a PNG"),
        ("file:///etc/passwd", "Choose a PNG"),
        (uri(b"<svg onload=alert(1)>", "svg+xml"), "Choose a PNG"),
        (uri(b"x" * (own.MAX_BYTES + 1000)), "Choose a PNG"),
        (uri(b"no picture"), "cannot be read"),
        ("data:image/png;base64,A", "cannot be read"),
        (uri(image()[:40]), "cannot be read"),
        (uri(image("GIF")), "cannot be read"),
        (uri(image("TIFF")), "cannot be read"),
        (uri(huge_header(5_000)), "has 25,000,000 pixels"),
        (uri(huge_header(60_000)), "cannot be read"),
    ],
)
def test_what_is_no_small_picture_is_refused_in_one_sentence(given: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        own.picture(own.keep(given))


def test_the_oldest_goes_and_says_so() -> None:
    first = own.keep(uri(image(size=(5, 5))))
    for side in range(6, 6 + own.KEPT):
        own.keep(uri(image(size=(side, 5))))
    with pytest.raises(DataError, match="no longer here"):
        own.picture(first)


def test_a_question_of_ones_own_is_a_sample() -> None:
    key = own.keep(uri(image()))
    sample = own.own_sample(key, " How many? ", " 2 ", bare=True)
    assert (sample.question, sample.answer, sample.answer_type) == ("How many?", "2", "number")
    assert sample.images[0].size == (30, 20) and sample.metadata == {"bare_prompt": True}
    assert own.own_sample(key, "Why?", "", bare=False).answer_type == "text"
    for question, words in (("", "Write a question"), ("x" * 3000, "more than 2000")):
        with pytest.raises(DataError, match=words):
            own.own_sample(key, question, "", bare=True)
