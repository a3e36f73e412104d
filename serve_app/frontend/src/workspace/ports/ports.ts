/** What programs in the workspace listen on: as the session's events say, and as it is shared. */

import { effect, signal } from "@preact/signals";
import { callJson, call } from "../../lib/api";
import { say, sayFailure } from "../../ui/toasts";
import { phase, sessionId, sessionPath } from "../session/session";
import { announced, type Listening } from "./news";

export type Visibility = "private" | "signed-in" | "public";

export interface Port {
  port: number;
  listening: boolean;
  program?: string | null;
  command?: string | null;
  visibility: Visibility;
  wake: boolean;
  label: string;
  url: string;
  open_url: string;
}

export const ports = signal<Port[]>([]);
/** The ports that were listened on when somebody last looked; null: nobody has. */
let known: Set<number> | null = null;

/** Read the list as soon as there is a container. */
export function followPorts(): void {
  effect(() => {
    if (phase.value === "ready") void loadPorts();
    if (["hibernated", "ended", "failed"].includes(phase.value)) {
      known = new Set();
      ports.value = ports.value.filter(isShared).map((each) => ({ ...each, listening: false }));
    }
  });
}

export async function loadPorts(): Promise<void> {
  try {
    ports.value = (await callJson<{ ports: Port[] }>("GET", `${sessionPath}/ports`)).ports;
    known = new Set(ports.value.filter((each) => each.listening).map((each) => each.port));
  } catch {
    // The next event, or the next look, has it.
  }
}

/** Take an event of the session: these are all that listen now. */
export function applyPorts(found: unknown): void {
  if (!Array.isArray(found)) return;
  const listening = found as Listening[];
  for (const each of announced(known, listening)) {
    say(`${each.program ?? "A program"} listens on port ${each.port}.`, "info", {
      label: "Open",
      href: openUrl(each.port),
    });
  }
  known = new Set(listening.map((each) => each.port));
  void loadPorts();
}

export function openUrl(port: number, rest = "/"): string {
  return `/workspaces/${encodeURIComponent(sessionId)}/ports/${port}${rest}`;
}

export async function share(port: Port, change: Partial<Pick<Port, "visibility" | "wake">>): Promise<void> {
  try {
    const changed = await callJson<Port>("PATCH", place(port), { json: change });
    ports.value = ports.value.map((each) => (each.port === changed.port ? changed : each));
  } catch (error) {
    sayFailure(`Port ${port.port} cannot be shared`, error);
  }
}

/** Return a link that lets in whoever has it, for a day; null when there is none to be had. */
export async function makeLink(port: Port): Promise<string | null> {
  try {
    return (await callJson<{ url: string }>("POST", `${place(port)}/link`, { json: {} })).url;
  } catch (error) {
    sayFailure("There is no link", error);
    return null;
  }
}

export async function stop(port: Port): Promise<void> {
  try {
    const answer = await call("DELETE", place(port));
    const { stopped } = (await answer.json()) as { stopped: boolean };
    if (!stopped) say(`What listens on port ${port.port} does not end.`, "bad");
  } catch (error) {
    sayFailure(`Port ${port.port}`, error);
  }
  await loadPorts();
}

function isShared(port: Port): boolean {
  return port.visibility !== "private" || port.wake || port.label !== "";
}

function place(port: Port): string {
  return `${sessionPath}/ports/${port.port}`;
}
