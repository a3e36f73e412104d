"""Packs of chunks: their form, compaction, and garbage collection."""
