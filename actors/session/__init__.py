"""A user session: its state machine, its lease, and the actor that holds both."""
