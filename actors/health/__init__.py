"""Health of containers: probes, verdicts, and what follows from them."""
