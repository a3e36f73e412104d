"""Explains each metric, for its ``# HELP`` line. Pure.

Keys are names without the prefix ``coditect_``: of the ingress, and of each actor's ``stats`` as
``KIND_NAME``. A name that is not here gets its own words.
"""

from __future__ import annotations

_ADR = {
    "container_launch_time": "Seconds from the start of a container until it answers.",
    "session_recovery_time": "Seconds for which open terminals had no container.",
    "active_containers": "Containers that serve a session.",
    "pool_utilization": "Part of the warm containers that is in use, 0 to 1.",
    "api_response_time": "Seconds until a request was answered.",
    "error_rate": "Part of the requests of the last five minutes that failed with 5xx.",
}
_INGRESS = {
    "ingress_attachments": "Clients attached to sessions through this replica.",
    "ingress_sockets": "Open sockets of this replica.",
    "ingress_sessions_followed": "Sessions whose events this replica follows.",
    "ingress_password_checks_under_way": "Password checks that are being made or wait.",
    "ingress_audit_entries_lost": "Lines of the audit trail that could not be written.",
    "ingress_route_hits_total": "Calls to containers whose address this replica knew.",
    "ingress_route_misses_total": "Calls to containers whose address was looked up.",
    "ingress_route_stale_total": "Calls for which the known address was an old one.",
    "logins_total": "Sign-ins by how they went.",
    "api_requests_total": "Answered requests by class of status.",
    "sessions": "Live sessions by phase.",
}
_EGRESS = {
    "egress_containers": "Containers that have a door of the egress gateway.",
    "egress_containers_connected": "Containers whose programs reach the egress gateway.",
    "egress_conversations": "Connections from inside of containers.",
    "egress_open": "Connections of sessions to outside.",
    "egress_sessions": "Sessions that have used the network lately.",
    "egress_connections_total": "Connections to outside that were made.",
    "egress_refused_total": "Connections to outside that were refused, by whatever rule.",
    "egress_sent_bytes_total": "Bytes from sessions to outside.",
    "egress_received_bytes_total": "Bytes from outside to sessions.",
    "egress_secrets_added_total": "Secrets that were added to requests to outside.",
    "egress_turned_away_total": "Connections of containers that had more than their share.",
    "egress_audit_entries_lost_total": "Lines of hosts that could not be written.",
    "egress_store_failures_total": "Times when the egress gateway had to wait for the store.",
    "egress_failures_total": "Failures of the egress gateway.",
}
_SSH = {
    "ssh_connections": "SSH connections of users.",
    "ssh_strangers": "SSH connections of those who have not proved yet who they are.",
    "ssh_accepted_total": "SSH connections that were taken.",
}
_POOL = {
    "pool_claims_total": "Sessions that asked for a warm actor and container.",
    "pool_claim_failures_total": "Claims that failed.",
    "pool_sessions_created_total": "Sessions that were made.",
    "pool_pool_hits_total": "New sessions that got a warm container.",
    "pool_pool_hit_rate": "Part of the new sessions that got a warm container, 0 to 1.",
    "pool_pool_utilization": "Part of the warm containers that is in use, 0 to 1.",
    "pool_claim_seconds": "Seconds that a claim took.",
    "pool_activation_seconds": "Seconds until a session had an actor that was to decide something.",
    "pool_activations_login_total": "Actors that a sign-in needed, since no container was warm.",
    "pool_activations_call_total": "Actors that a call needed.",
    "pool_activations_loss_total": "Actors that a lost container needed.",
    "pool_activations_move_total": "Actors that a session needed that was moved to another node.",
    "pool_activations_sleep_total": "Actors that an idle session needed to be put to sleep.",
    "pool_claims_waiting": "Claims that wait for a warm slot.",
    "pool_claims_busy_total": "Claims that were refused because too many launches wait.",
    "pool_slots_gone_total": "Warm slots that were gone when they were claimed.",
    "pool_takeovers_total": "Sessions that were taken from an owner that did not answer.",
    "pool_warm_actors_ready": "Warm actors that can be claimed.",
    "pool_warm_actors_starting": "Warm actors on their way.",
    "pool_warm_actors_target": "Warm actors that there should be.",
    "pool_warm_containers_ready": "Warm containers that can be claimed.",
    "pool_warm_containers_starting": "Warm containers on their way.",
    "pool_warm_containers_target": "Warm containers that there should be.",
    "pool_actor_start_seconds": "Seconds until a new actor answered.",
    "pool_container_launch_seconds": "Seconds from the start of a container until it answers.",
    "pool_launch_failures_total": "Containers that did not start.",
    "pool_actor_start_failures_total": "Actors that did not start.",
    "pool_actors_retired_total": "Actors that were ended.",
    "pool_containers_stopped_total": "Containers that were stopped.",
    "pool_adoptions_total": "Containers that were found running and taken over.",
    "pool_sweep_failures_total": "Sweeps for orphans that failed.",
    "pool_orphans": "Containers that nobody knows, within their lease.",
    "pool_workspaces_removed_total": "Workspaces of ended sessions that were removed.",
    "pool_sweep_duration_seconds": "Seconds that the last sweep for orphans took.",
    "pool_task_failures_total": "Background tasks that failed.",
}
_HEALTH = {
    "health_active_containers": "Containers that serve a session.",
    "health_containers_watched": "Containers that are probed.",
    "health_containers_healthy": "Containers that answered their last probes.",
    "health_containers_unhealthy": "Containers that did not answer lately.",
    "health_containers_dead": "Containers that are held to be lost.",
    "health_probes_total": "Probes of containers.",
    "health_probe_failures_total": "Probes that failed.",
    "health_probe_seconds": "Seconds that a probe took.",
    "health_exits_total": "Containers whose process ended.",
    "health_owners_told_total": "Owners that got the report of a lost container.",
    "health_containers_lost_total": "Containers that were lost.",
    "health_health_failures_total": "Failures of the health checker itself.",
    "health_attached_sockets": "Sockets that are attached to the node's sessions.",
    "health_attached_sessions": "Sessions that somebody is attached to.",
    "health_attendance_reports_total": "Reports of replicas on who is attached.",
    "health_events_published_total": "Events of sessions that followers could get.",
    "health_events_lost_total": "Events that their process could not send, and followers made up for.",
    "health_event_gaps_total": "Answers that had followers read the state of sessions again.",
    "health_event_followers": "Followers that wait for events.",
    "health_idle_samples_total": "Looks at what goes on in containers.",
    "health_idle_sessions_watched": "Sessions that are watched for signs of life.",
    "health_idle_sessions_quiet": "Sessions without a sign of life at the last look.",
    "health_idle_hibernations_total": "Sessions that were hibernated for being idle.",
    "health_idle_hibernations_called_off_total": "Hibernations called off by a late sign of life.",
    "health_idle_failures_total": "Looks for signs of life that failed.",
}
_JOURNAL = {
    "journal_journal_containers": "Containers whose terminals are journalled.",
    "journal_journal_terminals": "Terminals that are journalled.",
    "journal_journal_waiting": "Batches of output that wait for the store.",
    "journal_journal_commits_total": "Commits of terminal output.",
    "journal_journal_batches_total": "Batches of terminal output.",
    "journal_journal_bytes_total": "Bytes of terminal output that were kept.",
    "journal_journal_refused_total": "Batches of containers that had lost their session.",
    "journal_journal_trimmed_bytes_total": "Bytes of the oldest output that were dropped.",
    "journal_journal_failures_total": "Failures of the journal.",
    "journal_journal_commit_seconds": "Seconds until output was durable.",
}
_ARCHIVE = {
    "archive_workspaces_followed": "Workspaces whose changes are followed.",
    "archive_paths_to_restore": "Paths that are still to be restored.",
    "archive_versions_total": "Versions of workspaces that were committed.",
    "archive_paths_kept_total": "Changed paths that were archived.",
    "archive_paths_gone_total": "Deleted paths that were noted.",
    "archive_paths_restored_total": "Paths that were put back.",
    "archive_paths_unreadable_total": "Paths that could not be read.",
    "archive_read_bytes_total": "Bytes that were read of workspaces.",
    "archive_new_bytes_total": "Bytes that were new to the chunk store.",
    "archive_saves_total": "Saves through the API.",
    "archive_save_seconds": "Seconds from the file's arrival to its receipt.",
    "archive_round_seconds": "Seconds that a round of archiving took.",
    "archive_failures_total": "Rounds of archiving that failed.",
    "archive_backups_made_total": "Backups that were made.",
    "archive_backup_failures_total": "Backups that failed.",
}
_SUPERVISOR = {
    "supervisor_checked_at_timestamp_seconds": "When all was looked at last, Unix seconds.",
    "supervisor_age_seconds": "Seconds since all was looked at last.",
    "supervisor_orphans": "Containers that nobody knows.",
    "supervisor_sessions_active": "Sessions whose actor has something to decide.",
    "supervisor_ownerless": "Sessions whose actor is missing.",
    "supervisor_components_made_total": "Actors of the server that were made.",
    "supervisor_components_restarted_total": "Actors of the server that were made anew.",
    "supervisor_sessions_reopened_total": "Sessions that got another actor.",
    "supervisor_sessions_released_total": "Sessions that were let go.",
    "supervisor_supervision_failures_total": "Looks that failed.",
    "supervisor_look_duration_seconds": "Seconds that the last look at everything took.",
}
_DISK = {
    "disk_free_bytes": "What is free on the disk of the data directory.",
    "disk_reserve_bytes": "What workspaces leave free of it; below that they cannot grow.",
    "disk_promised_bytes": "What the disks of all workspaces may grow to together.",
    "disk_allocated_bytes": "What they take by now.",
}
_CLOUD_RUN = {
    "cloud_run_room": "How many containers a project takes in a region, beside those it has.",
}
HELP = {
    **_CLOUD_RUN, **_DISK, **_ADR, **_INGRESS, **_EGRESS, **_POOL, **_HEALTH, **_JOURNAL, **_ARCHIVE,
    **_SUPERVISOR, **_SSH,
}  # fmt: skip


def help_of(name: str) -> str:
    """Return the help text of a metric, whose name has no prefix."""
    known = HELP.get(name)
    if known is not None:
        return known
    kind, _, rest = name.partition("_")
    words = rest.removesuffix("_total").replace("_", " ")
    return f"{words or kind}, of the {kind} actor."
