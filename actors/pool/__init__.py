"""The pool of a node: warm containers, claims, and the takeover of what a lost owner left."""
