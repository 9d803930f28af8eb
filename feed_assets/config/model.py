"""Base of all models of YAML files."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
)

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _check_name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} must consist of letters, digits and _, and not start with a digit"
        )
    return value


Name = Annotated[str, AfterValidator(_check_name)]


class FrozenModel(BaseModel):
    """An immutable model that rejects unknown names, and whose errors quote no input."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


M = TypeVar("M", bound=FrozenModel)


def validate_without_input(value: Any, validate: ModelWrapValidatorHandler[M]) -> M:
    """Validate a component's attributes, and remove their values from the errors.

    Dagster builds a new ValidationError with the place in the YAML file, which would quote the
    input, secrets included.
    """
    try:
        return validate(value)
    except ValidationError as mistake:
        errors: list[Any] = [{**each, "input": "***"} for each in mistake.errors()]
        raise ValidationError.from_exception_data(mistake.title, errors, hide_input=True) from None
