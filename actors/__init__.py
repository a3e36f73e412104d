"""The domain: pure state machines, and the Ray shells that run them."""
