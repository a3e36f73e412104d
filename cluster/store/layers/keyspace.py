"""The whole key tree. Keys are FoundationDB tuples, for both engines.

    (tenant, "sessions", session_id)                       SessionRecord
    (tenant, "session_names", user_id, name)               session_id of the live session
    (tenant, "bindings", actor_id)                         session_id that the actor owns
    (tenant, "leases", session_id)                         the owner's last renewal, see actors/core/lease.py
    (tenant, "containers", container_id)                   ContainerRecord
    (tenant, "changes", feed, versionstamp, id)            empty; a record that was written; see changes.py
    (tenant, "newest_changes", feed)                       versionstamp of the newest of them
    (tenant, "user_containers", user_id, container_id)     {assigned_at}
    (tenant, "nodes", node_id)                             NodeRecord; nodes that joined the head
    (tenant, "left_workspaces", node_id, workspace_id)     {ended_at}; a directory to be removed
    (tenant, "idleness", session_id)                       Idleness; the owner's veto is kept here
    (tenant, "activity", session_id)                       when people last used it
    (tenant, "port_shares", session_id)                    PortShares; with whom its ports are shared
    (tenant, "networks", session_id)                       NetworkRecord; the owner's choice
    (tenant, "egress_use", session_id)                     EgressUse; today's, and the newest refusals
    (tenant, "manifests", workspace_id)                    ManifestHead: the newest version
    (tenant, "versions", workspace_id, version)            {at, changes}; a version is one transaction
    (tenant, "entries", workspace_id, directory, name, version)   Entry; ``directory`` is a digest
    (tenant, "version_entries", workspace_id, version, directory, name)   empty; what a version changed
    (tenant, "chunks", workspace_id, blake3)               where a chunk's bytes are
    (tenant, "chunk_uses", workspace_id, blake3)           how many entries use it (ADD)
    (tenant, "packs", workspace_id, pack)                  bytes of live chunks in a pack (ADD)
    (tenant, "dead_packs", workspace_id, pack)             empty; a pack to be removed
    (tenant, "dead_workspaces", workspace_id)              empty; all of its packs are to be removed
    (tenant, "terminals", session_id, name)                TerminalRecord
    (tenant, "terminal_fences", session_id, name)          nothing: a mere conflict; see terminals.py
    (tenant, "journal", session_id, name, offset)          output bytes from this offset on
    (tenant, "journal_states", session_id, name, offset)   what a terminal was sent before, in short
    (tenant, "usage", resource, user_id)                   how much of it a user has (ADD)
    (tenant, "usage_checks", user_id)                      when that was compared with what there is
    (tenant, "quotas", user_id)                            {resource: limit} where not the settings'
    (tenant, "unarchived", session_id)                     Unarchived; what is not kept, and why
    (tenant, "unrestored", session_id)                     Unrestored; there while a workspace is put back
    (tenant, "belonging")                                  Belonging; whose store this is
    (tenant, "backup_hold")                                {id, expires_at} of a backup under way
    (tenant, "users", user_id)                             UserRecord
    (tenant, "user_emails", email)                         user_id; the address as `emails.py` prepares it
    (tenant, "variables", user_id, name)                   VariableRecord
    (tenant, "secrets", user_id, name)                     SecretRecord
    (tenant, "secret_keys", key_id)                        how many secrets are sealed with it (ADD)
    (tenant, "preferences", user_id)                       PreferencesRecord
    (tenant, "environments", user_id)                      how often any of these changed (ADD)
    (tenant, "dotfiles", session_id)                       empty; there when a workspace has had its own
    (tenant, "ssh_keys", user_id, fingerprint)             SshKeyRecord
    (tenant, "refresh_tokens", token_id)                   RefreshTokenRecord
    (tenant, "token_families", family_id, token_id)        empty
    (tenant, "token_expiries", expires_at_ms, token_id)    family_id; soonest first, for removal
    (tenant, "ended_logins", versionstamp)                 {user_id, family_id, at} or an account's
    (tenant, "attempts", account, counter, whose)          [count, last at]; see attempts.py
    (tenant, "attempt_ages", at_ms, account, counter, whose)   empty; oldest first, for removal
    (tenant, "known_addresses", account, address)          when somebody signed in from there
    (tenant, "idempotency", key)                           answer of a call made before
    (tenant, "idempotency_ages", at_ms, key)               empty; oldest first, for removal
    (tenant, "audit", versionstamp)                        AuditEntry
    (tenant, "server_keys", name)                          secrets of the server, e.g. for tokens
    (tenant, "spent_tickets", expires_at_ms, ticket_id)    empty; single-use tickets that were used

Ended sessions are removed, their names at once, their records with them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cluster.store import tuples
from cluster.store.engines.interface import KeyRange, prefix_range

_VERSIONSTAMP = b"\x33"
"""The tuple layer's type code of a 96-bit versionstamp (FoundationDB, ``design/tuple.md``)."""


@lru_cache(4096)
def _packed_text(item: str) -> bytes:
    return bytes(tuples.pack((item,)))


def _packed(item: Any) -> bytes:
    """Return an element of a tuple as it is packed; those of texts, which are few, are remembered."""
    return _packed_text(item) if type(item) is str else bytes(tuples.pack((item,)))


class Directory:
    """One branch of the tree; ``key`` adds to it, ``range`` covers what is below."""

    def __init__(self, *path: Any) -> None:
        self._path = path
        self._prefix = b"".join(map(_packed, path))

    def key(self, *rest: Any) -> bytes:
        """Return the key of a leaf."""
        return self._prefix + b"".join(map(_packed, rest))

    def range(self, *rest: Any) -> KeyRange:
        """Return the range of everything below."""
        return prefix_range(self.key(*rest))

    def unpack(self, key: bytes) -> tuple[Any, ...]:
        """Return what a key adds to this branch."""
        return tuple(tuples.unpack(key))[len(self._path) :]

    def below(self, *rest: Any) -> Directory:
        """Return the branch of everything below."""
        return Directory(*self._path, *rest)

    def stamped_key(self, number: int = 0, rest: tuple[str, ...] = ()) -> bytes:
        """Return the operand of SET_VERSIONSTAMPED_KEY for a leaf that the commit numbers.

        ``number`` makes several leaves of one transaction different, and orders them. ``rest`` follows it.
        """
        # As fdb.tuple.pack_with_versionstamp does, which cannot be called without the native library:
        # type code, ten bytes to be filled in, two of the user's, then where the ten begin.
        prefix = self.key() + _VERSIONSTAMP
        leaf = number.to_bytes(2, "big") + bytes(tuples.pack(rest))
        return prefix + b"\xff" * 10 + leaf + len(prefix).to_bytes(4, "little")

    def stamped(self, stamp: bytes) -> bytes:
        """Return the key of a leaf that a commit has numbered; ``stamp`` has twelve bytes.

        With the ten of a commit alone: where its leaves begin.
        """
        return self.key() + _VERSIONSTAMP + stamp

    def unstamped(self, key: bytes) -> tuple[bytes, tuple[Any, ...]]:
        """Return the ten bytes of the commit that has numbered a leaf, and what follows its number."""
        begin = len(self.key() + _VERSIONSTAMP)
        return key[begin : begin + 10], tuple(tuples.unpack(key[begin + 12 :]))


class Keyspace:
    """The branches of one tenant."""

    def __init__(self, tenant_id: str) -> None:  # noqa: PLR0915 - a table
        self.tenant_id = tenant_id
        self.sessions = Directory(tenant_id, "sessions")
        self.session_names = Directory(tenant_id, "session_names")
        self.bindings = Directory(tenant_id, "bindings")
        self.leases = Directory(tenant_id, "leases")
        self.containers = Directory(tenant_id, "containers")
        self.changes = Directory(tenant_id, "changes")
        self.newest_changes = Directory(tenant_id, "newest_changes")
        self.user_containers = Directory(tenant_id, "user_containers")
        self.nodes = Directory(tenant_id, "nodes")
        self.left_workspaces = Directory(tenant_id, "left_workspaces")
        self.idleness = Directory(tenant_id, "idleness")
        self.activity = Directory(tenant_id, "activity")
        self.port_shares = Directory(tenant_id, "port_shares")
        self.networks = Directory(tenant_id, "networks")
        self.egress_use = Directory(tenant_id, "egress_use")
        self.manifests = Directory(tenant_id, "manifests")
        self.versions = Directory(tenant_id, "versions")
        self.entries = Directory(tenant_id, "entries")
        self.version_entries = Directory(tenant_id, "version_entries")
        self.chunks = Directory(tenant_id, "chunks")
        self.chunk_uses = Directory(tenant_id, "chunk_uses")
        self.packs = Directory(tenant_id, "packs")
        self.dead_packs = Directory(tenant_id, "dead_packs")
        self.dead_workspaces = Directory(tenant_id, "dead_workspaces")
        self.terminals = Directory(tenant_id, "terminals")
        self.terminal_fences = Directory(tenant_id, "terminal_fences")
        self.journal = Directory(tenant_id, "journal")
        self.journal_states = Directory(tenant_id, "journal_states")
        self.usage = Directory(tenant_id, "usage")
        self.usage_checks = Directory(tenant_id, "usage_checks")
        self.quotas = Directory(tenant_id, "quotas")
        self.unarchived = Directory(tenant_id, "unarchived")
        self.unrestored = Directory(tenant_id, "unrestored")
        self.belonging = Directory(tenant_id, "belonging")
        self.backup_hold = Directory(tenant_id, "backup_hold")
        self.users = Directory(tenant_id, "users")
        self.user_emails = Directory(tenant_id, "user_emails")
        self.variables = Directory(tenant_id, "variables")
        self.secrets = Directory(tenant_id, "secrets")
        self.secret_keys = Directory(tenant_id, "secret_keys")
        self.preferences = Directory(tenant_id, "preferences")
        self.environments = Directory(tenant_id, "environments")
        self.dotfiles = Directory(tenant_id, "dotfiles")
        self.ssh_keys = Directory(tenant_id, "ssh_keys")
        self.refresh_tokens = Directory(tenant_id, "refresh_tokens")
        self.token_families = Directory(tenant_id, "token_families")
        self.token_expiries = Directory(tenant_id, "token_expiries")
        self.ended_logins = Directory(tenant_id, "ended_logins")
        self.attempts = Directory(tenant_id, "attempts")
        self.attempt_ages = Directory(tenant_id, "attempt_ages")
        self.known_addresses = Directory(tenant_id, "known_addresses")
        self.idempotency = Directory(tenant_id, "idempotency")
        self.idempotency_ages = Directory(tenant_id, "idempotency_ages")
        self.audit = Directory(tenant_id, "audit")
        self.server_keys = Directory(tenant_id, "server_keys")
        self.spent_tickets = Directory(tenant_id, "spent_tickets")
