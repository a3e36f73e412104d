/** Follows the session's events, reconnecting by itself; each new connection begins with a look. */

import { signal } from "@preact/signals";
import { ApiError, socketUrl } from "../../lib/api";
import { backoffSeconds } from "../../lib/backoff";
import { applyEvent, loadSession, phase, sessionPath } from "./session";
import { noteNames } from "../terminals/terminals";

export const eventsConnected = signal(false);

let socket: WebSocket | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;
let attempt = 0;

export function followEvents(): void {
  addEventListener("online", hurry);
  document.addEventListener("visibilitychange", hurry);
  void open();
}

async function open(): Promise<void> {
  clearTimeout(timer);
  try {
    const url = await socketUrl(`${sessionPath}/events`, {});
    const next = new WebSocket(url);
    socket = next;
    next.onopen = () => {
      eventsConnected.value = true;
      attempt = 0;
      // What happened while nobody listened.
      loadSession().catch(() => undefined);
    };
    next.onmessage = (event: MessageEvent<unknown>) => take(event.data);
    next.onclose = () => {
      if (socket === next) lost();
    };
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return; // the page is on its way to the login
    lost();
  }
}

function take(data: unknown): void {
  if (typeof data !== "string") return;
  try {
    const frame = JSON.parse(data) as { type?: unknown; data?: { names?: unknown } };
    applyEvent(frame);
    if (frame.type === "terminals") noteNames(frame.data?.names);
  } catch {
    // Not for this page.
  }
}

function lost(): void {
  socket = null;
  eventsConnected.value = false;
  if (phase.value === "ended") return;
  attempt += 1;
  timer = setTimeout(() => void open(), backoffSeconds(attempt, Math.random()) * 1000);
}

function hurry(): void {
  if (socket === null && document.visibilityState === "visible" && attempt > 0) void open();
}
