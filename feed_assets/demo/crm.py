"""The orders of the example CRM, with the state after each change."""

from __future__ import annotations

from datetime import date
from typing import Any

COLUMNS = ("createdAt", "updatedAt", "orderId", "currency", "total", "status", "userId")
CHANGES = [
    ("2020-01-10", "2020-01-10", "N1", "USD", 120.13, "received", "U1"),
    ("2020-01-10", "2020-01-15", "N1", "USD", 120.13, "delivered", "U1"),
    ("2020-01-15", "2020-01-15", "N2", "USD", 96.12, "received", "U2"),
    ("2020-01-15", "2020-01-20", "N2", "USD", 96.12, "refunded", "U2"),
    ("2020-01-20", "2020-01-20", "N3", "USD", 299.99, "received", "U3"),
]
FIRST, LAST = date(2020, 1, 10), date(2020, 1, 20)


def updated_on(day: date) -> list[dict[str, Any]]:
    """Return the orders updated on a day, in their state at its end."""
    return [order for order in map(_order, CHANGES) if order["updatedAt"] == day.isoformat()]


def now() -> list[dict[str, Any]]:
    """Return every order in its current state."""
    orders = {order["orderId"]: order for order in map(_order, CHANGES)}
    return list(orders.values())


def _order(change: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(COLUMNS, change, strict=True))
