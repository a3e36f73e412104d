"""The journal of a node: terminals' output and input on their way into the store."""
