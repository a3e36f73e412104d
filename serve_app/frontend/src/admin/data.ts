/** The data of the operators' page, asked for again and again while somebody looks. */

import { computed, signal } from "@preact/signals";
import { ApiError, callJson, explain } from "../lib/api";
import type { Resource, Usage } from "../lib/usage";

export interface Health {
  status: "ok" | "degraded" | "down";
  components: Record<
    string,
    { status: "ok" | "degraded" | "down"; vital: boolean; latency_ms: number; detail?: string | null }
  >;
}

export interface Session {
  session_id: string;
  user_id: string;
  name: string;
  status: string;
  container_id: string | null;
  epoch: number;
  restarts: number;
  failure: string | null;
  life?: "active" | "attached" | "at_rest" | "asleep" | null;
  last_activity: number | string;
}

export interface Container {
  container_id: string;
  status: string;
  session_id?: string | null;
}

export interface User {
  user_id: string;
  email: string;
  role: "user" | "admin";
  disabled: boolean;
  created_at: number | string;
  /** Limits of its own; 0: none. */
  quotas?: Partial<Record<Resource, number>>;
  usage?: Usage | null;
}

export interface AuditEntry {
  timestamp: number;
  count: number;
  user_id: string | null;
  action: string;
  resource: string;
  ip_address: string | null;
  result: string;
}

export interface Distribution {
  sum: number;
  count: number;
}

export type PoolStats = Record<string, number | Distribution>;

export interface Overview {
  age_seconds: number | null;
  sessions: Record<string, number>;
  stuck: string[];
  orphans: number;
  ownerless: number;
  actors: {
    name: string;
    kind: string;
    vital: boolean;
    status: string;
    pid: number | null;
    uptime_seconds: number | null;
  }[];
  pools: Record<string, PoolStats>;
  /** Things that the server could use and did not find at its start: meaning and remedy. */
  wanting?: { name: string; verdict: string; found: string; advice: string }[];
}

const PAGE = 1000;
const FAST_MILLISECONDS = 2500;
const SLOW_EVERY = 4;

export const me = signal<User | null>(null);
export const refused = signal<string | null>(null);
export const failure = signal<string | null>(null);
export const health = signal<Health | null>(null);
export const overview = signal<Overview | null>(null);
export const overviewAt = signal(0);
export const sessions = signal<Session[] | null>(null);
export const moreSessions = signal(false);
export const containers = signal<Container[] | null>(null);
export const users = signal<User[] | null>(null);
export const audit = signal<AuditEntry[] | null>(null);

const emails = computed(
  () => new Map((users.value ?? []).map((user) => [user.user_id, user.email] as const)),
);

export function emailOf(userId: string | null): string {
  return userId === null ? "–" : (emails.value.get(userId) ?? userId);
}

let round = 0;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Begin to look; nothing is asked while the page is hidden. */
export async function watch(): Promise<void> {
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") void look();
  });
  try {
    me.value = await callJson<User>("GET", "/api/v1/auth/me");
  } catch {
    // The page is on its way to the login, or the first look says what is wrong.
  }
  await look();
}

/** Ask now. What fails keeps its last values and is said. */
export async function look(): Promise<void> {
  clearTimeout(timer);
  const slow = round++ % SLOW_EVERY === 0;
  const asked = [lookAtHealth(), lookAtOverview(), lookAtSessions(), lookAtContainers()];
  if (slow) asked.push(lookAtUsers(), lookAtAudit());
  const results = await Promise.allSettled(asked);
  const failed = results.find((result) => result.status === "rejected");
  failure.value = failed ? explain(failed.reason) : null;
  if (failed?.reason instanceof ApiError && failed.reason.status === 403) {
    refused.value = "This page is for administrators.";
    return;
  }
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (document.visibilityState === "visible") void look();
  }, FAST_MILLISECONDS);
}

export async function lookAtUsers(): Promise<void> {
  const found = await callJson<{ users: User[] }>("GET", `/api/admin/users?limit=${PAGE}`);
  users.value = found.users;
}

export async function lookAtAudit(): Promise<void> {
  const found = await callJson<{ entries: AuditEntry[] }>("GET", "/api/admin/audit?limit=50");
  audit.value = found.entries;
}

/** Health comes with 503 when the server is down: the body says which part. */
async function lookAtHealth(): Promise<void> {
  const response = await fetch("/api/admin/health", {
    cache: "no-store",
    signal: AbortSignal.timeout(10_000),
  }).catch(() => {
    throw new ApiError(0, "unreachable", "The server cannot be reached.");
  });
  health.value = (await response.json()) as Health;
}

async function lookAtOverview(): Promise<void> {
  overview.value = await callJson<Overview>("GET", "/api/admin/overview");
  overviewAt.value = Date.now() / 1000;
}

async function lookAtSessions(): Promise<void> {
  const found = await callJson<{ sessions: Session[]; next?: string | null }>(
    "GET",
    `/api/admin/sessions?limit=${PAGE}`,
  );
  sessions.value = found.sessions;
  moreSessions.value = Boolean(found.next);
}

async function lookAtContainers(): Promise<void> {
  const found = await callJson<{ containers: Container[] }>("GET", "/api/admin/containers");
  containers.value = found.containers;
}
