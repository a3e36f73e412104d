"""Bringing a server up and down: its Ray head, the watch over it, and what it leaves behind."""
