"""A torchvision that is missing or does not fit torch: what to install is said in one sentence."""

import json
import sys

import pytest
import trainer_toys as toys

from ekipl_lab.errors import ConfigError
from ekipl_lab.libraries import check_torchvision, reason
from ekipl_lab.policies.load import load_processor


def torchvision_that(folder, monkeypatch, code):
    """A package torchvision 9.9.9 whose import runs ``code``."""
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(code)
    (folder / "torchvision-9.9.9.dist-info").mkdir()
    (folder / "torchvision-9.9.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchvision\nVersion: 9.9.9\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)


def test_one_for_another_torch_is_refused_before_transformers_breaks_on_it(tmp_path, monkeypatch):
    torchvision_that(
        tmp_path, monkeypatch, "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    with pytest.raises(ConfigError) as caught:
        check_torchvision()
    said = str(caught.value)
    assert said.startswith("torchvision 9.9.9 does not fit torch 2.")
    assert "(operator torchvision::nms does not exist)" in said
    assert "pip install '.[gpu]' -c constraints.txt" in said and said.count(". ") == 0


def test_one_that_can_be_imported_passes(tmp_path, monkeypatch):
    torchvision_that(tmp_path, monkeypatch, "")
    check_torchvision()
    del sys.modules["torchvision"]


def test_the_reason_is_the_first_line_with_words():
    assert reason(ImportError("\nQwen2VLVideoProcessor requires it\nbut")) == (
        "Qwen2VLVideoProcessor requires it"
    )
    assert reason(ImportError()) == "ImportError"


def test_a_stock_processor_without_torchvision_says_what_to_install(tmp_path, monkeypatch):
    model, processor = toys.nano()
    model.config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    stock = json.loads(path.read_text()) | {"processor_class": "Qwen2VLProcessor"}
    path.write_text(json.dumps(stock))
    monkeypatch.setattr("ekipl_lab.libraries.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"\(\S.*\); torchvision is not installed.*\.\[gpu\]"):
        load_processor(tmp_path)
