/** Follows the session's events on its socket, reconnecting by itself; each new connection begins with a look. */

import { signal } from "@preact/signals";
import { ApiError } from "../../lib/api";
import { backoffSeconds } from "../../lib/backoff";
import { applyPorts } from "../ports/ports";
import { applyEvent, loadSession, phase } from "./session";
import { connect, follow } from "./socket";

export const eventsConnected = signal(false);

let timer: ReturnType<typeof setTimeout> | undefined;
let attempt = 0;
let noteNames: (names: unknown) => void = () => undefined;

/** `terminals` takes the names of the session's terminals whenever they change. */
export function followEvents(terminals: (names: unknown) => void): void {
  noteNames = terminals;
  follow({ event, lost });
  addEventListener("online", hurry);
  document.addEventListener("visibilitychange", hurry);
  void open();
}

async function open(): Promise<void> {
  clearTimeout(timer);
  try {
    await connect();
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return; // the page is on its way to the login
    lost();
  }
}

function event(event: unknown): void {
  if (!eventsConnected.value) {
    eventsConnected.value = true;
    attempt = 0;
    // What happened while nobody listened.
    loadSession().catch(() => undefined);
  }
  applyEvent(event);
  const { type, data } = (event ?? {}) as { type?: unknown; data?: { names?: unknown; ports?: unknown } };
  if (type === "terminals") noteNames(data?.names);
  if (type === "ports") applyPorts(data?.ports);
}

function lost(): void {
  eventsConnected.value = false;
  if (phase.value === "ended") return;
  attempt += 1;
  clearTimeout(timer);
  timer = setTimeout(() => void open(), backoffSeconds(attempt, Math.random()) * 1000);
}

function hurry(): void {
  if (!eventsConnected.value && document.visibilityState === "visible" && attempt > 0) void open();
}
