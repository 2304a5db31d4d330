"""A secret of the environment is found however JSON escapes it, in files of any kind."""

import bz2
import gzip
import json
import lzma
import random
import time
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ekipl_lab.errors import ConfigError
from ekipl_lab.secrets import (
    blotted,
    hidden,
    refuse_secret_files,
    refuse_secret_rows,
    refuse_secrets,
    spelled,
    spelled_bytes,
    without_secrets,
)

SECRETS = ['sk/a+b"\\c-é😀\nq', "sk-test/5f1c+0ffee", "/+ab\"'cdef", "\\\\abcdefg\\"]


def escaped(secret: str) -> list[str]:
    """JSON strings that decode to the secret, each in another way, and JSON within JSON."""
    words = [
        "".join(f"\\u{int.from_bytes(unit, 'big'):0{digits}{case}}" for unit in units)
        for digits, case in (("4", "x"), ("4", "X"))
        for wide in [secret.encode("utf-16-be")]
        for units in [[wide[i : i + 2] for i in range(0, len(wide), 2)]]
    ]
    every_second = "".join(
        f"\\u{ord(c):04x}" if i % 2 and ord(c) < 1 << 16 else json.dumps(c)[1:-1]
        for i, c in enumerate(secret)
    )
    forms = [json.dumps(secret), json.dumps(secret, ensure_ascii=False)]
    forms += [forms[0].replace("/", "\\/"), *(f'"{word}"' for word in (*words, every_second))]
    assert {json.loads(form) for form in forms} == {secret}
    return [*forms, *map(json.dumps, forms), *(json.dumps(json.dumps(form)) for form in forms)]


@pytest.fixture(params=SECRETS)
def secret(request, monkeypatch):
    monkeypatch.setenv("EKIPL_TEST_TOKEN", request.param)
    return request.param


def test_every_spelling_is_refused_or_replaced(secret, tmp_path):
    for text in [secret, *escaped(secret)]:
        with pytest.raises(ConfigError, match=r"EKIPL_TEST_TOKEN stands in a tag, which"):
            refuse_secrets("a tag", f"the key {text} is wrong")
        assert spelled_bytes(secret).sub(b"[key]", text.encode()).decode().count("[key]") == 1
        assert spelled(secret).search(without_secrets(text)) is None
        (tmp_path / "file").write_text(f"{'x' * 99}{text}", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"EKIPL_TEST_TOKEN stands in .*file"):
            refuse_secret_files(tmp_path)
    refuse_secrets("a tag", secret.replace("c", "d"))


def test_a_secret_is_found_in_any_mixture_of_escapes(secret):
    random_order = random.Random(0)
    for depth in (1, 2, 3):
        for _ in range(20):
            text = f"see {secret} there"
            for _ in range(depth):
                share = random_order.choice([0.2, 0.5, 1.0])
                units = [json.dumps(c)[1:-1] for c in text]
                text = "".join(
                    all_escaped(c) if random_order.random() < share else unit
                    for c, unit in zip(text, units, strict=True)
                )
            with pytest.raises(ConfigError, match="EKIPL_TEST_TOKEN stands in"):
                refuse_secrets("a tag", text)
            assert "<EKIPL_TEST_TOKEN>" in without_secrets(text)
            assert b"[key]" in blotted(secret, text.encode(), b"[key]")
            assert not hidden(secret, without_secrets(text))


def all_escaped(character):
    wide = character.encode("utf-16-be").hex()
    return "".join(f"\\u{wide[i : i + 4]}" for i in range(0, len(wide), 4))


def test_a_secret_in_a_compressed_table_is_refused(secret, tmp_path):
    repeated = f"{secret[:5]} {secret[5:]} " * 9  # so that compression cuts the secret up
    table = pa.table({"answers": [[{"text": "x" * 999}], [{"text": repeated + secret}]]})
    with pytest.raises(ConfigError, match="EKIPL_TEST_TOKEN stands in the records"):
        refuse_secret_rows("the records", table)
    pq.write_table(table, tmp_path / "rows.parquet", compression="zstd", write_statistics=False)
    assert secret.encode() not in (tmp_path / "rows.parquet").read_bytes()
    with pytest.raises(ConfigError, match=r"EKIPL_TEST_TOKEN stands in .*rows\.parquet"):
        refuse_secret_files(tmp_path)
    refuse_secret_rows("the records", table.slice(0, 1))


def test_a_secret_in_a_packed_file_is_refused(secret, tmp_path):
    content = f"{'x' * 999} {secret[:5]} {secret[5:]} {secret}".encode()
    opened = {".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    for ending, opener in opened.items():
        with opener(tmp_path / f"log{ending}", "wb") as stream:
            stream.write(content)
    with zipfile.ZipFile(tmp_path / "kept.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt", content)
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("inner.txt", content)
    for path in tmp_path.iterdir():
        with pytest.raises(ConfigError, match=rf"EKIPL_TEST_TOKEN stands in .*{path.name}"):
            refuse_secret_files(path)
    (tmp_path / "cut.gz").write_bytes((tmp_path / "log.gz").read_bytes()[:-9])
    with pytest.raises(ConfigError, match=r"cut\.gz cannot be unpacked to look for secrets"):
        refuse_secret_files(tmp_path / "cut.gz")


def test_a_secret_is_found_without_the_line_break_of_its_file(monkeypatch):
    """Keys are sent stripped, and so they are echoed."""
    monkeypatch.setenv("EKIPL_TEST_TOKEN", " sk-abcdefgh\n")
    with pytest.raises(ConfigError, match="EKIPL_TEST_TOKEN stands in a tag"):
        refuse_secrets("a tag", "key sk-abcdefgh is wrong")
    assert without_secrets("key sk-abcdefgh.") == "key <EKIPL_TEST_TOKEN>."


def test_a_flood_of_backslashes_is_no_burden():
    """A square of time would be hours."""
    began = time.monotonic()
    for flood in ("\\" * 1_000_000, "sk-\\\\\\" * 200_000, "\\\\u005c" * 200_000):
        assert spelled("sk-test/5f1c+0ffee").search(flood) is None
    assert time.monotonic() - began < 20
