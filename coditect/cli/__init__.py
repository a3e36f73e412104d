"""The `coditect` command line."""
