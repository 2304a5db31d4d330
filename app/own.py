"""A reader's own picture and question: kept in memory alone, for whoever has the address.

The browser hands the picture over as a data URI, so that no upload route and no file is needed. It
is untrusted: its size and kind are checked before it is decoded, and no more than that is kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import threading
from collections import OrderedDict

from PIL import Image

from ekipl_lab.errors import DataError
from ekipl_lab.images import read_image, resized
from ekipl_lab.types import Sample

#: Largest file (bytes), most pixels, and the long side to which a picture is shrunk.
MAX_BYTES, MAX_PIXELS, MAX_SIDE = 4 << 20, 16_000_000, 1024
#: Pictures that are kept; the one that was used longest ago goes first.
KEPT = 32
MAX_QUESTION = 2_000
_FORMATS = ("PNG", "JPEG", "WEBP")
_URI = re.compile(r"data:image/(?:png|jpeg|webp);base64,([A-Za-z0-9+/=]+)")
_LOCK = threading.Lock()
_PICTURES: OrderedDict[str, Image.Image | str] = OrderedDict()


def keep(uri: str) -> str:
    """The key of a picture from now on; that of a refused one leads to the reason."""
    key = hashlib.sha256(uri.encode()).hexdigest()[:32]
    try:
        found: Image.Image | str = _decoded(uri)
    except DataError as error:
        found = str(error)
    with _LOCK:
        _PICTURES[key] = found
        _PICTURES.move_to_end(key)
        while len(_PICTURES) > KEPT:
            _PICTURES.popitem(last=False)
    return key


def picture(key: str) -> Image.Image:
    """A picture that was kept; DataError where it was refused or is gone."""
    with _LOCK:
        found = _PICTURES.get(key, "Your picture is no longer here; choose it again.")
    if isinstance(found, str):
        raise DataError(found)
    return found


def own_sample(key: str, question: str, answer: str, *, bare: bool) -> Sample:
    """A reader's question as a sample; ``bare`` as the policies of the built-in benchmark are
    asked, without words on the form of the answer."""
    image = picture(key)
    question, answer = question.strip(), answer.strip()
    if not question:
        raise DataError("Write a question about your picture.")
    if len(question) > MAX_QUESTION:
        raise DataError(f"Your question has more than {MAX_QUESTION} characters; shorten it.")
    number = re.fullmatch(r"-?\d+(?:\.\d+)?", answer)
    return Sample(
        id=f"own/{key}",
        task="own",
        split="test",
        images=(image,),
        question=question,
        answer=answer,
        answer_type="number" if number else "text",
        metadata={"bare_prompt": bare},
    )


def _decoded(uri: str) -> Image.Image:
    match = _URI.fullmatch(uri) if len(uri) <= MAX_BYTES * 4 // 3 + 100 else None
    if match is None:
        raise DataError(
            f"Choose a PNG, JPEG or WebP picture of at most {MAX_BYTES >> 20} MB of your own."
        )
    try:
        content = base64.b64decode(match[1], validate=True)
        with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
            pixels = opened.width * opened.height
    except (binascii.Error, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as bad:
        raise DataError("Your picture cannot be read; choose another PNG, JPEG or WebP.") from bad
    if pixels > MAX_PIXELS:
        raise DataError(f"Your picture has {pixels:,} pixels; at most {MAX_PIXELS:,} are taken.")
    return resized(read_image(content).image, side=MAX_SIDE)
