"""What makes several machines one server: by what they know each other, and what must be alike."""
