"""An emulator of Cloud Run: the Admin API over gRPC, a metadata server, and services that run.

Only developers and tests load it: nothing of the server may import it, nor gRPC through it. See
``docs/design/cloud-run-emulator.md``.
"""
