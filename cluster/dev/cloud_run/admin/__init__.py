"""The Admin API: ``google.cloud.run.v2`` and ``google.longrunning`` over gRPC."""
