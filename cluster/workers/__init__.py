"""Ray's workers, forked from one warm process of each server: see docs/design/workers.md."""
