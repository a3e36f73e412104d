/** Starts a program with a page of its own, and says when the page can be opened. */

import { signal } from "@preact/signals";
import { call, callJson, explain } from "../../lib/api";
import { sessionPath } from "../session/session";
import type { WebProgram } from "./catalog";

export type Stage = "starting" | "ready" | "failed";

export interface Running {
  program: WebProgram;
  stage: Stage;
  /** The last of what it has printed. */
  output: string;
  url: string | null;
  problem: string | null;
}

/** Where it runs. */
interface Place {
  name: string;
  port: number;
}

interface Process {
  name: string;
  state: "running" | "exited" | "lost";
  exit_code: number | null;
  start_offset: number;
  end_offset: number;
}

interface Port {
  port: number;
  listening: boolean;
  open_url: string;
}

const LOOK_MILLISECONDS = 1000;
const LIMIT_MILLISECONDS = 15 * 60_000;
const SHOWN_BYTES = 4096;
const PORTS_TRIED = 20;

/** The program that is looked at; null: none. */
export const running = signal<Running | null>(null);

/** Start it, or find it started, and look at it until it can be opened. */
export async function open(program: WebProgram): Promise<void> {
  const fresh: Running = { program, stage: "starting", output: "", url: null, problem: null };
  running.value = fresh;
  try {
    await follow(fresh, await start(program));
  } catch (error) {
    put(fresh, { stage: "failed", problem: explain(error) });
  }
}

/** Look no more; it goes on. */
export function leave(): void {
  running.value = null;
}

/** End it, and forget what it printed. */
export async function end(program: WebProgram): Promise<void> {
  const known = await placeOf(program);
  if (known) await forget(known.name);
}

async function forget(name: string): Promise<void> {
  await call("DELETE", processPath(name), { expected: [404] });
}

/** Start it unless it runs; return its process. */
async function start(program: WebProgram): Promise<Place> {
  const known = await placeOf(program);
  if (known?.state === "running") return known;
  if (known) await forget(known.name);
  const port = await freePort(program.port);
  const name = `${program.id}-${port}`;
  await callJson<Process>("POST", `${sessionPath}/processes`, {
    json: { name, argv: ["bash", "-c", program.script], env: { PORT: String(port) } },
    timeoutSeconds: 60,
  });
  return { name, port };
}

async function placeOf(program: WebProgram): Promise<(Place & Process) | null> {
  const { named } = await callJson<{ named: Process[] }>("GET", `${sessionPath}/processes?named=true`);
  for (const each of named) {
    const [, id, port] = /^(.*)-(\d+)$/.exec(each.name) ?? [];
    if (id === program.id) return { ...each, port: Number(port) };
  }
  return null;
}

async function freePort(first: number): Promise<number> {
  const { ports } = await callJson<{ ports: Port[] }>("GET", `${sessionPath}/ports`);
  const taken = new Set(ports.map((each) => each.port));
  for (let port = first; port < first + PORTS_TRIED; port += 1) if (!taken.has(port)) return port;
  throw new Error(`The ports from ${first} on are taken.`);
}

async function follow(fresh: Running, { name, port }: Place): Promise<void> {
  const until = Date.now() + LIMIT_MILLISECONDS;
  while (running.value?.program === fresh.program && running.value.stage === "starting") {
    const process = await callJson<Process>("GET", processPath(name));
    const offset = Math.max(process.start_offset, process.end_offset - SHOWN_BYTES);
    const output = await (await call("GET", `${processPath(name)}/output?offset=${offset}`)).text();
    if (process.state !== "running") {
      const how = process.state === "lost" ? "Its container has stopped." : `It ended with code ${process.exit_code}.`;
      put(fresh, { stage: "failed", output, problem: how });
      return;
    }
    const found = await callJson<Port>("GET", `${sessionPath}/ports/${port}`);
    if (found.listening) {
      put(fresh, { stage: "ready", output, url: found.open_url });
      return;
    }
    if (Date.now() > until) throw new Error("It does not listen after 15 minutes.");
    put(fresh, { output });
    await new Promise((resolve) => setTimeout(resolve, LOOK_MILLISECONDS));
  }
}

function put(fresh: Running, change: Partial<Running>): void {
  if (running.value?.program === fresh.program) running.value = { ...running.value, ...change };
}

function processPath(name: string): string {
  return `${sessionPath}/processes/${name}`;
}
