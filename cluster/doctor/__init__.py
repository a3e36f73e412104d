"""Checks what the machine must offer: probes, and verdicts with remedies."""
