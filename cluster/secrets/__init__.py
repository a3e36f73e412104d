"""Variables and secrets of users: how they are called, sealed, and given to their programs."""
