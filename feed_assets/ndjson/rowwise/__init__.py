"""The reference reader: row by row, in Python, obviously right."""
