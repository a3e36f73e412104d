"""What programs inside listen on: a way to it, and news of it."""
