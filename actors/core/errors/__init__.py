"""The one error tree of the server.

    CoditectError
    ├── InvalidArgument        a value the caller sent is wrong
    ├── Unauthenticated        no or bad credentials
    ├── PermissionDenied       known caller, not allowed
    ├── NotFound               no such thing, or not the caller's
    ├── AlreadyExists
    ├── KeyReused              an idempotency key came again with another request
    ├── PreconditionFailed     If-Match or an expected state did not hold
    ├── RangeNotSatisfiable    no byte of a range is in the file
    ├── UnsupportedEncoding    a body in a coding that nobody here undoes
    ├── PayloadTooLarge
    ├── WorkspaceFull          the disk of a workspace is full; nothing was changed
    │   └── DiskQuotaExceeded  it holds what its container may hold
    ├── QuotaExceeded          a user has as much as is allowed
    │   └── ContainersExceeded as many containers, that is
    ├── TooManyRequests        retryable; the caller sent too much
    ├── Busy                   retryable; the server has too much to do
    ├── Unavailable            retryable; a component does not answer
    │   ├── Unreached          nothing was sent, so nothing was done
    │   └── ActorGone          the actor is dead for good, or was never made
    ├── DeadlineExceeded       retryable; it did not answer in time
    ├── LaunchFailed           retryable; a container did not become ready
    ├── Fenced                 an owner with an older epoch was refused
    ├── NotBound               the actor does not hold that session
    ├── SlotGone               retryable; a warm slot was taken by another claim
    ├── ActorTaken             retryable; a warm actor owns a session by now
    ├── SessionEnded
    ├── ManifestMoved          retryable; a workspace's newest version is another than was compared with
    ├── ChunkMissing           retryable; a chunk that was known is stored no more: store it again
    ├── ContentMissing         retryable; what is kept of a file cannot be read back now
    ├── IllegalTransition      a bug: a machine was driven out of its table
    └── StoreError
        ├── CommitConflict     retryable (FoundationDB 1020)
        ├── TransactionTooOld  retryable (1007)
        ├── CommitUnknown      retryable with the same idempotency key (1021)
        ├── TransactionTooLarge, KeyTooLarge, ValueTooLarge   (2101, 2102, 2103)
        ├── StoreFull          retryable; the disk is full, nothing was written
        └── StoreFailed        the store stopped after an I/O error

Errors are dataclasses: they carry data, make their text of it, and survive pickling across
processes with it.
"""
