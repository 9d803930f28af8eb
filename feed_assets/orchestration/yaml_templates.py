"""Templates in a component's YAML, such as `{{ env.FEED_HOST }}`, as Dagster's components have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import ValidationError

from feed_assets.orchestration.dagster_internals import ResolutionException


class _Environment:
    """The scope `env` of templates; records variables that are not set.

    Dagster's own puts the text `None` in the middle of an attribute instead.
    """

    def __init__(self) -> None:
        self.missing: list[str] = []

    def __call__(self, name: str, default: str | None = None) -> str:
        value = os.environ.get(name, default)
        if value is None:
            self.missing.append(name)
        return value or ""

    def __getattr__(self, name: str) -> str:
        if name.startswith("jinja"):  # jinja2 looks for attributes of its own
            raise AttributeError(name)
        return self(name)


def fill_in(attributes: Any, model: str) -> Any:
    """Return the attributes of a component with their templates replaced by values.

    Raises ValidationError, with the path of the attribute, for a template without a value.
    """
    mistakes: list[Any] = []

    def filled(value: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(value, Mapping):
            return {key: filled(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [filled(each, (*path, place)) for place, each in enumerate(value)]
        if not isinstance(value, str) or "{{" not in value:
            return value
        environment, mistake, found = _Environment(), "", None
        context = dg.ResolutionContext.default().with_scope(env=environment)
        try:
            found = context.resolve_value(value)
        except ResolutionException:
            mistake = "its template cannot be evaluated; write a variable as {{ env.NAME }}"
        if environment.missing:
            names = " and ".join(dict.fromkeys(environment.missing))
            mistake = f"its template needs {names}, which is not set in the environment"
        if mistake:
            error = {"type": "value_error", "ctx": {"error": ValueError(mistake)}}
            mistakes.append({**error, "loc": path, "input": "***"})
        return found

    result = filled(attributes, ())
    if mistakes:
        raise ValidationError.from_exception_data(model, mistakes, hide_input=True)
    return result
