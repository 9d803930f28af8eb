"""The documentation is true: what its pages show is run, and what they say is compared."""
