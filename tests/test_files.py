"""Files that are there whole or not at all."""

from pathlib import Path

import pytest

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.files import check_folder, put_between, replacing, write_text


def test_text_replaces_what_was_there_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    assert write_text(path, "old") == path
    write_text(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_an_error_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        assert temporary.suffix == ".tmp" and temporary.parent == tmp_path
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_the_old_text_is_read_until_the_block_ends(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_section_between_marks() -> None:
    page = "above\n<a>\nold\n<b>\nbelow <b>\n"
    assert put_between(page, "<a>", "<b>", "new") == "above\n<a>\nnew\n<b>\nbelow <b>\n"
    assert put_between("<a><b>", "<a>", "<b>", "x") == "<a>\nx\n<b>"
    for broken in ("no marks", "<a> only", "<b> before <a>"):
        with pytest.raises(DataError, match="lacks the marks"):
            put_between(broken, "<a>", "<b>", "new")


@pytest.mark.parametrize("name", ["/proc/x", "/proc", "/proc/1/x/y", "x" * 300, "a/" + "x" * 300])
def test_a_folder_that_nobody_may_write_to_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be (written|a folder)"):
        check_folder(tmp_path / name)
    assert check_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []
