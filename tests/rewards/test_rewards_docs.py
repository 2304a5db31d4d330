"""The pages on scoring and teachers say what the code does."""

import re

import yaml
from paths import ROOT

from ekipl_lab.rewards import MATCHERS
from ekipl_lab.rewards.audit import audit, audit_table
from ekipl_lab.teachers.build import teacher_spec

DOCS = ROOT / "docs"


def test_the_audit_table_in_the_docs_is_the_one_the_code_makes() -> None:
    text = (DOCS / "scoring.md").read_text(encoding="utf-8")
    between = re.search(r"<!-- audit:begin -->\n(.*)\n<!-- audit:end -->", text, re.DOTALL)
    assert between is not None
    assert between[1] == audit_table(audit())


def test_every_answer_type_is_documented() -> None:
    text = (DOCS / "scoring.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in MATCHERS)


def test_the_teachers_of_the_docs_are_valid() -> None:
    text = (DOCS / "teachers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    raw = [item for block in blocks for item in yaml.safe_load(block)["teachers"]]
    specs = [teacher_spec(item) for item in raw]
    assert {"oracle", "random", "replay", "local"} <= {spec.type for spec in specs}
