"""How a suite writes the allocation of the kept weights: an exponent p, `global`, `auto`, or {auto: c}."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from benchmark.suite.scalars import is_decimal
from methods.allocation import AUTO, auto_name, check_allocation
from methods.auto_allocation import MAX_C


def _strategy(value: Any) -> Any:
    """Return an allocation as an experiment has it: {auto: c} becomes a name."""
    constant = isinstance(value, dict) and [*value] == [AUTO]
    number = value[AUTO] if constant else value
    number = float(number) if isinstance(number, str) and is_decimal(number) else number
    try:
        if constant and isinstance(number, int | float) and not isinstance(number, bool):
            return auto_name(number)
        if isinstance(number, int | float | str) and not constant:
            return check_allocation(number)
    except ValueError:
        pass
    raise ValueError(
        "allocation must be an exponent p from 0 to 1, 'global', 'auto', "
        f"or {{auto: c}} with a constant c from 0 to {MAX_C:g}"
    )


Strategy = Annotated[float | str, BeforeValidator(_strategy)]
