"""What is said of a wrong value: the field, what it must be, and never the value itself."""

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from ekipl_lab.validation import complaint


class Inner(BaseModel):
    depth: int = 1


class Model(BaseModel):
    whole: int = 1
    number: float = 1.0
    finite: float = Field(default=1.0, allow_inf_nan=False)
    flag: bool = False
    text: str = ""
    many: list[int] = [1]
    pair: tuple[int, ...] = ()
    table: dict[str, int] = {}
    inner: Inner = Inner()
    choice: Literal["a", "b"] = "a"
    above: float = Field(default=1.0, gt=0)
    least: int = Field(default=1, ge=2)
    below: float = Field(default=0.0, lt=1)
    most: float = Field(default=0.5, le=0.5)
    some: list[int] = Field(default=[1], min_length=1)
    code: str = Field(default="x", pattern="^x")
    odd: int = 1

    @field_validator("odd")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("give an odd number.")
        return value


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("whole", "secret", "whole must be a whole number, not text"),
        ("whole", 1.5, "whole must be a whole number, not a number"),
        ("whole", None, "whole must be a whole number, not nothing"),
        ("number", "secret", "number must be a number, not text"),
        ("finite", float("nan"), "finite must be a finite number, not a number"),
        ("flag", "perhaps", "flag must be true or false, not text"),
        ("text", 3, "text must be text, not a whole number"),
        ("many", 3, "many must be a list, not a whole number"),
        ("many", ["secret"], "many.0 must be a whole number, not text"),
        ("pair", {"a": 1}, "pair must be a list, not settings"),
        ("table", [1], "table must be settings (key: value), not a list"),
        ("inner", "secret", "inner must be settings (key: value), not text"),
        ("choice", "secret", "choice must be 'a' or 'b'"),
        ("above", 0, "above must be greater than 0"),
        ("least", 1, "least must be 2 or more"),
        ("below", 1, "below must be less than 1"),
        ("most", 0.75, "most must be 0.5 or less"),
        ("some", [], "some must have 1 or more entries"),
        ("code", "secret", "code must fit the pattern ^x"),
        ("odd", 2, "odd: give an odd number"),
    ],
)
def test_each_kind_of_mistake_has_its_clause(field: str, value: Any, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Model.model_validate({field: value})
    first = caught.value.errors()[0]
    clause = complaint(first, ".".join(str(part) for part in first["loc"]))
    assert clause == said
    assert "secret" not in clause


def test_a_missing_field_is_named() -> None:
    class Needs(BaseModel):
        path: str

    with pytest.raises(ValidationError) as caught:
        Needs.model_validate({})
    assert complaint(caught.value.errors()[0], "path") == "path is missing; add it"
