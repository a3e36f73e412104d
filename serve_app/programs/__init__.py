"""Programs of a session: streamed, relayed, and kept by name."""
