"""Ordered key-value engines with strictly serialisable transactions."""
