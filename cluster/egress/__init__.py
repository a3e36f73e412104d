"""The way out of containers: a proxy outside of them, with a policy by session; see the note on it."""
