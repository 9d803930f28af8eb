"""The fast reader: whole blocks in Arrow, with guards that fall back to the rows."""
