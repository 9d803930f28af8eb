"""Preview: what an import of a feed would do, from its rows alone. Opens no warehouse."""
