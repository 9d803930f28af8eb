"""DuckDB: tables in a file, and the view of the latest state."""
