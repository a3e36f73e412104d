/** The session this page shows: what the server says of it, and what may be asked for it. */

import { computed, signal } from "@preact/signals";
import { ApiError, call, callJson, rememberSignedIn } from "../../lib/api";
import { type Disk, explainUnarchived, isWorthSaying, type Unarchived, type Usage } from "../../lib/usage";
import { say, sayFailure } from "../../ui/toasts";

export type Phase =
  | "starting"
  | "ready"
  | "recovering"
  | "hibernating"
  | "hibernated"
  | "ending"
  | "ended"
  | "failed"
  | (string & {});

/** Reasons for which the session is awake, or the time of its sleep; times are seconds since 1970. */
export interface Idle {
  sleeps_at: number | null;
  keep_awake_until: number | null;
}

export interface Session {
  session_id: string;
  name?: string;
  status: Phase;
  container_status: string;
  container_id?: string | null;
  epoch: number;
  workspace_state?: Record<string, unknown>;
  save_version?: number;
  /** Seconds since 1970. */
  last_activity?: number;
  failure?: string | null;
  idle?: Idle | null;
  /** Null: everything is archived. */
  unarchived?: Unarchived | null;
  usage?: Usage | null;
  /** Null: the container has no disk of its own, or does not run. */
  disk?: Disk | null;
}

export interface User {
  user_id: string;
  email: string;
  role: string;
  usage?: Usage | null;
}

export interface Saved {
  path: string | null;
  version: number;
}

export const sessionId = decodeURIComponent(location.pathname.split("/")[2] ?? "");
export const sessionPath = `/api/v1/sessions/${encodeURIComponent(sessionId)}`;

export const session = signal<Session | null>(null);
export const user = signal<User | null>(null);
export const lastSave = signal<Saved | null>(null);
/** The reason for which there is nothing to show; null while there is something. */
export const missing = signal<string | null>(null);

export const phase = computed<Phase>(() => session.value?.status ?? "starting");
/** True while a container is there or on its way, so that terminals and files can be asked for. */
export const awake = computed(() => ["starting", "ready", "recovering"].includes(phase.value));

let statusesHeard = 0;

/**
 * An answer, but for what an event has said since it was asked for: the two come over different
 * connections, so the answer may be older, and no event would come that puts it right.
 */
function newest(answer: Session, heardBefore: number): Session {
  const now = session.value;
  if (heardBefore === statusesHeard || !now) return answer;
  const { status, container_status, container_id, epoch, failure, idle } = now;
  return { ...answer, status, container_status, container_id, epoch, failure, idle };
}

/** Ask the server how things are. Throws ApiError. */
export async function loadSession(): Promise<Session> {
  const heard = statusesHeard;
  try {
    const found = newest(await callJson<Session>("GET", sessionPath), heard);
    session.value = found;
    noteSave(null, found.save_version ?? 0);
    missing.value = null;
    return found;
  } catch (error) {
    if (error instanceof ApiError && [403, 404, 410].includes(error.status)) {
      missing.value = "This workspace does not exist, or it belongs to somebody else.";
    }
    throw error;
  }
}

export async function loadUser(): Promise<void> {
  user.value = await callJson<User>("GET", "/api/v1/auth/me");
}

async function loadDisk(): Promise<void> {
  if (!session.value?.disk || !awake.value) return;
  const { disk } = await callJson<Session>("GET", sessionPath);
  if (session.value) session.value = { ...session.value, disk: disk ?? null };
}

const USAGE_MILLISECONDS = 60_000;
const USAGE_SOON_MILLISECONDS = 1500;
let usageTimer: ReturnType<typeof setTimeout> | undefined;

/** Keep what is used up to date: now and then, and soon after something was saved. */
export function followUsage(): void {
  lookAtUsage(USAGE_MILLISECONDS);
}

function lookAtUsage(delay: number): void {
  clearTimeout(usageTimer);
  usageTimer = setTimeout(() => {
    if (document.visibilityState === "visible") {
      loadUser().catch(() => undefined);
      loadDisk().catch(() => undefined);
    }
    lookAtUsage(USAGE_MILLISECONDS);
  }, delay);
}

/** Take an event of the session's stream; unknown types are for newer pages. */
export function applyEvent(frame: unknown): void {
  if (typeof frame !== "object" || frame === null) return;
  const { type, data = {} } = frame as { type?: unknown; data?: Record<string, unknown> };
  const before = session.value;
  if (type === "status" || type === "ended") statusesHeard += 1;
  if (type === "saved") {
    noteSave(typeof data["path"] === "string" ? data["path"] : null, Number(data["version"] ?? 0));
    lookAtUsage(USAGE_SOON_MILLISECONDS);
  } else if (type === "unarchived" && before) {
    noteUnarchived(before, typeof data["paths"] === "number" ? (data as unknown as Unarchived) : null);
  } else if (type === "ended" && before) {
    session.value = { ...before, status: "ended", container_status: "stopped", container_id: null };
  } else if (type === "idle" && before) {
    session.value = { ...before, idle: idleOf(data) };
  } else if (type === "status" && before) {
    const status = String(data["phase"] ?? data["status"] ?? before.status);
    session.value = {
      ...before,
      status,
      idle: status === before.status ? (before.idle ?? null) : null,
      container_status: String(data["container_status"] ?? before.container_status),
      container_id: (data["container_id"] as string | null | undefined) ?? null,
      epoch: Number(data["epoch"] ?? before.epoch),
      failure: (data["failure"] as string | null | undefined) ?? null,
    };
  }
}

/** Say once when files begin not to be archived, and when all are again. */
function noteUnarchived(before: Session, unarchived: Unarchived | null): void {
  session.value = { ...before, unarchived };
  const [was, is] = [before.unarchived, unarchived].map(isWorthSaying);
  if (unarchived && is && !was) say(explainUnarchived(unarchived), "bad");
  if (was && !is) say("Everything is archived again.");
  lookAtUsage(USAGE_SOON_MILLISECONDS);
}

function idleOf(data: Record<string, unknown>): Idle {
  const time = (name: string) => (typeof data[name] === "number" ? data[name] : null);
  return { sleeps_at: time("sleeps_at"), keep_awake_until: time("keep_awake_until") };
}

/** Remember the newest save; older news of it changes nothing. */
export function noteSave(path: string | null, version: number): void {
  const known = lastSave.value;
  if (version > 0 && (!known || version > known.version || (version === known.version && path))) {
    lastSave.value = { path: path ?? known?.path ?? null, version };
  }
}

export async function hibernate(): Promise<void> {
  await ask("hibernate", "The session cannot be put to sleep");
}

export async function resume(): Promise<void> {
  await ask("resume", "The session cannot be resumed");
}

/** Veto sleep by idleness for some seconds from now; 0 takes that back. */
export async function keepAwake(seconds: number): Promise<void> {
  try {
    const idle = await callJson<Idle>("POST", `${sessionPath}/keep-awake`, { json: { seconds } });
    if (session.value) session.value = { ...session.value, idle };
  } catch (error) {
    sayFailure("The session cannot be kept awake", error);
  }
}

export async function endSession(): Promise<void> {
  try {
    await call("DELETE", sessionPath, { timeoutSeconds: 60 });
    if (session.value) session.value = { ...session.value, status: "ended", container_id: null };
  } catch (error) {
    sayFailure("The session cannot be ended", error);
  }
}

/** Open the user's session anew and go there. */
export async function openAnother(): Promise<void> {
  try {
    await openNamed(session.value?.name ?? "default");
  } catch (error) {
    sayFailure("A workspace cannot be opened", error);
  }
}

/** Open the session of a name, which is made if there is none, and go there. Throws ApiError. */
export async function openNamed(name: string): Promise<void> {
  const opened = await callJson<Session>("POST", "/api/v1/sessions", {
    json: { name },
    timeoutSeconds: 60,
  });
  location.assign(workspaceUrl(opened.session_id));
}

export function workspaceUrl(id: string): string {
  return `/workspaces/${encodeURIComponent(id)}`;
}

export async function loadSessions(): Promise<Session[]> {
  return (await callJson<{ sessions: Session[] }>("GET", "/api/v1/sessions")).sessions;
}

export async function signOut(): Promise<void> {
  try {
    await call("POST", "/api/v1/auth/logout", { json: {}, unsigned: true, expected: [401] });
    rememberSignedIn(false);
    location.assign("/");
  } catch (error) {
    sayFailure("Signing out failed", error);
  }
}

/** The fields that an answer fills; the others, null in it, are as they were. */
function filled(answer: Session): Session {
  const { unarchived, usage, disk, ...rest } = answer;
  return rest;
}

async function ask(what: "hibernate" | "resume", failure: string): Promise<void> {
  const heard = statusesHeard;
  try {
    const answer = await callJson<Session | undefined>("POST", `${sessionPath}/${what}`, {
      json: {},
      timeoutSeconds: 60,
    });
    if (answer?.session_id) session.value = newest({ ...session.value, ...filled(answer) }, heard);
    if (what === "hibernate") say("The session goes to sleep. Files stay as they are.");
  } catch (error) {
    sayFailure(failure, error);
  }
}
