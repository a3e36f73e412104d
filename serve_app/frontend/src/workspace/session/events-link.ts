/**
 * Follows the session's events, reconnecting by itself; each new connection begins with a look.
 *
 * A terminal's socket brings them along. They have a socket of their own only while none does.
 */

import { signal } from "@preact/signals";
import { ApiError, socketUrl } from "../../lib/api";
import { backoffSeconds } from "../../lib/backoff";
import { applyPorts } from "../ports/ports";
import { applyEvent, loadSession, phase, sessionPath } from "./session";

/** How long a terminal may take to bring them. */
const ALONG_MILLISECONDS = 1500;

export const eventsConnected = signal(false);

let socket: WebSocket | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;
let attempt = 0;
let opening = 0;
let carrier: object | null = null;
let noteNames: (names: unknown) => void = () => undefined;

/** `terminals` takes the names of the session's terminals whenever they change. */
export function followEvents(terminals: (names: unknown) => void): void {
  noteNames = terminals;
  addEventListener("online", hurry);
  document.addEventListener("visibilitychange", hurry);
  openSoon(ALONG_MILLISECONDS);
}

/** Whether the socket that is about to be opened is to bring events: one does. */
export function mayCarry(by: object): boolean {
  carrier ??= by;
  return carrier === by;
}

/** Take an event from a socket that brings them. */
export function carried(by: object, event: unknown): void {
  if (carrier !== by) return;
  if (socket !== null || !eventsConnected.value) {
    closeOwn();
    connected();
  }
  apply(event);
}

/** Another socket has to bring them. */
export function endCarrying(by: object): void {
  if (carrier !== by) return;
  carrier = null;
  if (socket !== null || !eventsConnected.value) return;
  eventsConnected.value = false;
  openSoon(ALONG_MILLISECONDS);
}

function openSoon(milliseconds: number): void {
  clearTimeout(timer);
  timer = setTimeout(() => void open(), milliseconds);
}

async function open(): Promise<void> {
  clearTimeout(timer);
  if (eventsConnected.value) return;
  const number = ++opening;
  try {
    const url = await socketUrl(`${sessionPath}/events`, {});
    if (eventsConnected.value || number !== opening) return;
    closeOwn();
    const next = new WebSocket(url);
    socket = next;
    next.onopen = connected;
    next.onmessage = (event: MessageEvent<unknown>) => take(event.data);
    next.onclose = () => {
      if (socket === next) lost();
    };
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return; // the page is on its way to the login
    lost();
  }
}

function connected(): void {
  clearTimeout(timer);
  eventsConnected.value = true;
  attempt = 0;
  // What happened while nobody listened.
  loadSession().catch(() => undefined);
}

function closeOwn(): void {
  const own = socket;
  socket = null;
  if (!own) return;
  own.onopen = own.onmessage = own.onclose = null;
  own.close();
}

function take(data: unknown): void {
  if (typeof data !== "string") return;
  try {
    apply(JSON.parse(data));
  } catch {
    // Not for this page.
  }
}

function apply(event: unknown): void {
  applyEvent(event);
  const { type, data } = (event ?? {}) as { type?: unknown; data?: { names?: unknown; ports?: unknown } };
  if (type === "terminals") noteNames(data?.names);
  if (type === "ports") applyPorts(data?.ports);
}

function lost(): void {
  socket = null;
  if (phase.value === "ended") {
    eventsConnected.value = false;
    return;
  }
  eventsConnected.value = false;
  attempt += 1;
  openSoon(backoffSeconds(attempt, Math.random()) * 1000);
}

function hurry(): void {
  if (socket === null && document.visibilityState === "visible" && attempt > 0) void open();
}
