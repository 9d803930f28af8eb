"""Find the texts that Arrow casts to a decimal type exactly."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def are_plain(texts: pa.Array, to: pa.DataType) -> pa.Array:
    """Return for each text whether it is plain digits that fit the type: no exponent, no `+`.

    Arrow's cast is exact for these alone. It wraps around where there are more digits (of 30 to 38
    before the point, a NUMERIC of a third comes out wrong), makes 0 of a number with 200 zeros at
    its end, and ends the process at four million digits.
    """
    whole, fraction = to.precision - to.scale, to.scale
    return pc.match_substring_regex(texts, rf"^-?[0-9]{{1,{whole}}}(\.[0-9]{{1,{fraction}}})?$")
