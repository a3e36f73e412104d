"""Benchmarks: one file a question. `python -m benchmarks [NAME …]` runs them and keeps the results."""
