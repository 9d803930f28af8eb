"""Seeded feeds for the measurements: the same bytes every time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

_STATUS = ("new", "paid", "shipped", "returned")
_CITIES = ("Zürich", "Bern", "Genève", "Lausanne", "Basel", "Chur")
_WRITE_ROWS = 10_000


def flat(path: Path, rows: int) -> None:
    """Orders of nine columns, about 150 bytes each."""
    _write(path, rows, _order)


def nested(path: Path, rows: int) -> None:
    """Orders with a customer, tags and one to five items, about 500 bytes each."""
    _write(path, rows, _nested_order)


def _write(path: Path, rows: int, row: Callable[[random.Random, int], dict[str, object]]) -> None:
    chance = random.Random(20240501)  # noqa: S311
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, rows, _WRITE_ROWS):
            numbers = range(first, min(rows, first + _WRITE_ROWS))
            lines = (json.dumps(row(chance, number), separators=(",", ":")) for number in numbers)
            file.write("\n".join(lines) + "\n")


def _moment(chance: random.Random) -> str:
    return (
        f"20{chance.randrange(15, 25)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
        f"T{chance.randrange(24):02}:{chance.randrange(60):02}:{chance.randrange(60):02}Z"
    )


def _order(chance: random.Random, number: int) -> dict[str, object]:
    return {
        "id": number,
        "order": f"{number:010}",
        "customer_id": chance.randrange(200_000),
        "total": round(chance.random() * 1000, 2),
        "status": chance.choice(_STATUS),
        "paid": chance.random() < 0.9,
        "ordered_at": _moment(chance),
        "due": _moment(chance)[:10],
        "note": None if chance.random() < 0.8 else f"leave at door {chance.randrange(99)}",
    }


def _nested_order(chance: random.Random, number: int) -> dict[str, object]:
    return {
        "id": number,
        "ordered_at": _moment(chance),
        "customer": {
            "id": f"C{chance.randrange(200_000):06}",
            "name": f"Customer {chance.randrange(200_000)}",
            "address": {"city": chance.choice(_CITIES), "zip": f"{chance.randrange(1000, 9999)}"},
            "since": _moment(chance)[:10],
        },
        "tags": [chance.choice(_STATUS) for _ in range(chance.randrange(4))],
        "items": [
            {
                "sku": f"SKU-{chance.randrange(10_000):05}",
                "quantity": chance.randrange(1, 9),
                "price": round(chance.random() * 100, 2),
                "gift": chance.random() < 0.1,
            }
            for _ in range(chance.randrange(1, 6))
        ],
        "total": round(chance.random() * 1000, 2),
        "note": None if chance.random() < 0.8 else "leave at door",
    }
