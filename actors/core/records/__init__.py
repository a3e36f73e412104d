"""Values that the store keeps and actors pass on: frozen pydantic models with a schema version.

Times are seconds since the Unix epoch (float, UTC). Identifiers are opaque strings
such as ``s-…`` (session), ``c-…`` (container), ``u-…`` (user), ``a-…`` (actor).
"""
