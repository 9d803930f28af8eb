"""Types of values: what each accepts, and how text is parsed."""
