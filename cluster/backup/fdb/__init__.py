"""FoundationDB's own backup tools."""
