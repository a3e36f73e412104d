"""The FoundationDB engine."""
