"""Idleness of sessions: when a container sleeps, and when a terminal ends."""
