/**
 * The client's side of the terminal protocol, as a pure machine: frames, keys and losses go in,
 * effects come out. No sockets, no clock, no randomness. `link.ts` carries the
 * effects out.
 *
 * Output bytes are numbered from the `attached` frame on, and input is kept until the server has
 * acknowledged it. After any loss the machine asks for the output it has not seen and sends again
 * the input that was not accepted, so that every byte is shown and typed exactly once.
 */

import { backoffSeconds } from "../../lib/backoff";

/** Input kept while it is not acknowledged; more waits until some of it is. */
export const MAX_UNACKNOWLEDGED = 1 << 20;

/** Input that waits behind it, as of a large paste; more is refused and said. */
export const MAX_WAITING = 64 << 20;

/** Largest input frame. */
export const MAX_FRAME = 32 << 10;

const INTERRUPT = 3;
const PASTE_END = "\x1b[201~";
const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");

const CLOSE_BAD_FRAME = 4400;
const CLOSE_UNAUTHORIZED = 4401;
const CLOSE_FORBIDDEN = 4403;
const CLOSE_NOT_FOUND = 4404;
const CLOSE_SLOW = 4408;
const CLOSE_ENDED = 4410;
const CLOSE_REPLACED = 4411;

/** The status of a session on the terminal's socket. */
export type ServerStatus = "ready" | "recovering" | "hibernated" | "failed" | (string & {});

/** The state of the machine. `over` ends it until `reopen`; after `failed` another try is useless. */
export type LinkPhase =
  | { at: "connecting" }
  | { at: "attached" }
  | { at: "waiting"; seconds: number; attempt: number }
  | { at: "over"; exitCode: number | null }
  | { at: "replaced" }
  | { at: "failed"; reason: string };

/** Something the reader gets between two output bytes. */
export type Mark =
  | { type: "restarted" }
  | { type: "truncated"; bytes: number | null }
  | { type: "over"; exitCode: number | null }
  | { type: "replaced" }
  | { type: "failed"; reason: string }
  | { type: "input_refused"; bytes: number };

export type Effect =
  | { do: "send"; data: Uint8Array }
  | { do: "control"; frame: Record<string, unknown> }
  | { do: "show"; data: Uint8Array; live: boolean }
  | { do: "state"; data: Uint8Array }
  | { do: "mark"; mark: Mark }
  | { do: "size"; cols: number; rows: number; ours: boolean }
  | { do: "sizing"; sizing: Sizing }
  | { do: "directory"; path: string }
  | { do: "retry"; seconds: number }
  | { do: "authenticate" }
  | { do: "changed" };

export interface Size {
  cols: number;
  rows: number;
}

/** By which of its windows a terminal is sized, as tmux's `window-size`. */
export const SIZING_RULES = ["latest", "smallest", "largest"] as const;
export type SizingRule = (typeof SIZING_RULES)[number];

/** A window that shows the terminal. `sets`: the size follows it; `own`: it is this one. */
export interface TerminalWindow extends Size {
  label: string;
  sets: boolean;
  own: boolean;
}

export interface Sizing {
  rule: SizingRule;
  windows: TerminalWindow[];
}

/** State that outlives a page: the client's id and its input that was not acknowledged. */
export interface Remembered {
  client: string;
  inputOffset: number;
  unacknowledged: Uint8Array;
}

export class TerminalConnection {
  phase: LinkPhase = { at: "connecting" };
  status: ServerStatus = "ready";
  private offset: number | null = null;
  private skip = 0;
  /** Questions of programs in these output bytes, by number, are answered here; `until` is exclusive. */
  private answered = { from: Infinity, until: Infinity };
  /** True while the terminal has this page's size. */
  private sizes = false;
  private inputOffset: number;
  private pending: Uint8Array[] = [];
  private pendingBytes = 0;
  private waiting: Uint8Array[] = [];
  private waitingBytes = 0;
  private attempt = 0;
  private saidRestarted = false;
  private sentSize: Size | null = null;

  /**
   * `size` is how large the page shows the terminal; null: it does not, and claims no size. `label` is
   * what people at other windows see of this one.
   */
  constructor(
    private readonly remembered: Remembered,
    private size: Size | null,
    private readonly label = "",
  ) {
    this.inputOffset = remembered.inputOffset;
    if (remembered.unacknowledged.length > 0) this.keep(remembered.unacknowledged);
  }

  /** The parameters of the next connection. */
  query(): Record<string, string> {
    const query: Record<string, string> = {
      client: this.remembered.client,
      input_offset: String(this.inputOffset),
      emulator: "1",
    };
    if (this.size) {
      query["cols"] = String(this.size.cols);
      query["rows"] = String(this.size.rows);
    }
    if (this.label) query["label"] = this.label;
    if (this.offset !== null) query["offset"] = String(this.offset);
    return query;
  }

  /** The state that another page load of this tab goes on with. Waiting input goes with the page, but no paste stays open. */
  remember(): Remembered {
    const rest = this.endOfWaiting();
    return {
      client: this.remembered.client,
      inputOffset: this.inputOffset,
      unacknowledged: concat([...this.pending, rest], this.pendingBytes + rest.length),
    };
  }

  /** Input bytes that the server has not acknowledged. */
  get unacknowledged(): number {
    return this.pendingBytes;
  }

  /** Input bytes that are not sent yet since the terminal does not take so much at once. */
  get unsent(): number {
    return this.waitingBytes;
  }

  /** The number of the next output byte; null before the first attachment. */
  get nextOffset(): number | null {
    return this.offset;
  }

  /** A connection is being made. */
  connecting(): Effect[] {
    this.phase = { at: "connecting" };
    this.sentSize = this.size;
    return [{ do: "changed" }];
  }

  /** A text frame came. Frames that are not understood are ignored: servers may be newer. */
  text(raw: string): Effect[] {
    const frame = parse(raw);
    switch (frame?.["type"]) {
      case "attached":
        return this.attached(frame);
      case "input_ack":
        this.acknowledge(integer(frame["offset"], this.inputOffset));
        return this.goOn();
      case "status":
        this.status = String(frame["status"] ?? this.status);
        return [{ do: "changed" }];
      case "restarted":
        return this.restarted();
      case "truncated":
        return [{ do: "mark", mark: { type: "truncated", bytes: null } }];
      case "resized":
        return this.resized(frame);
      case "sizing":
        return sizing(frame);
      case "snapshot":
        return state(frame["data"]);
      case "answers":
        this.answers(frame["answers"] === true, frame["offset"]);
        return [];
      case "cwd":
        return typeof frame["path"] === "string" ? [{ do: "directory", path: frame["path"] }] : [];
      case "exit":
        return this.over(typeof frame["code"] === "number" ? frame["code"] : null);
      default:
        return [];
    }
  }

  /** A binary frame came: output, counted; what was shown before is left out. */
  binary(data: Uint8Array): Effect[] {
    const fresh = data.subarray(Math.min(this.skip, data.length));
    this.skip -= data.length - fresh.length;
    if (fresh.length === 0) return [];
    const begin = this.offset ?? 0;
    this.offset = begin + fresh.length;
    this.saidRestarted = false;
    const within = (offset: number) => Math.min(Math.max(offset - begin, 0), fresh.length);
    const from = within(this.answered.from);
    const until = Math.max(from, within(this.answered.until));
    const parts: [Uint8Array, boolean][] = [
      [fresh.subarray(0, from), false],
      [fresh.subarray(from, until), true],
      [fresh.subarray(until), false],
    ];
    return parts.flatMap(([data, live]) => (data.length > 0 ? [{ do: "show", data, live }] : []));
  }

  /** Somebody typed. While detached it is kept, and sent when the server is back. */
  input(data: Uint8Array): Effect[] {
    if (this.finished) return [];
    if (this.waitingBytes + data.length > MAX_WAITING) {
      return [{ do: "mark", mark: { type: "input_refused", bytes: data.length } }];
    }
    if (this.waitingBytes > 0 && data.length === 1 && data[0] === INTERRUPT) {
      // Whoever interrupts a program does not want the rest of what they pasted.
      const rest = this.endOfWaiting();
      this.waiting = rest.length > 0 ? [rest] : [];
      this.waitingBytes = rest.length;
    }
    for (let at = 0; at < data.length; at += MAX_FRAME) {
      this.waiting.push(data.subarray(at, at + MAX_FRAME));
    }
    this.waitingBytes += data.length;
    return this.goOn();
  }

  /** The emulator answers a program. An answer that comes too late would be typed, so none is kept. */
  reply(data: Uint8Array): Effect[] {
    return this.phase.at === "attached" ? this.input(data) : [];
  }

  /** The page shows the terminal in another size, or, with null, not any more. */
  resize(size: Size | null): Effect[] {
    this.size = size;
    if (this.phase.at !== "attached" || same(this.sentSize, size)) return [];
    this.sentSize = size;
    return [{ do: "control", frame: size ? { type: "resize", ...size } : { type: "hidden" } }];
  }

  /** A person uses the terminal here, so that it has this page's size, and this page answers. */
  use(): Effect[] {
    return this.phase.at === "attached" ? [{ do: "control", frame: { type: "active" } }] : [];
  }

  /** A person wants the terminal sized by another rule: for everybody, and for good. */
  chooseSizing(rule: SizingRule): Effect[] {
    return this.phase.at === "attached" ? [{ do: "control", frame: { type: "sizing", rule } }] : [];
  }

  /** True if another window would have to give something up if this one were used. */
  get secondary(): boolean {
    return !this.sizes || this.answered.until !== Infinity || this.answered.from === Infinity;
  }

  /** The connection is gone or was never made. `chance` in [0, 1) spreads the retries. */
  closed(code: number, reason: string, chance: number): Effect[] {
    if (this.finished) return [];
    switch (code) {
      case CLOSE_ENDED:
        return this.over(null);
      case CLOSE_REPLACED:
        this.phase = { at: "replaced" };
        return [{ do: "mark", mark: { type: "replaced" } }, { do: "changed" }];
      case CLOSE_BAD_FRAME:
      case CLOSE_FORBIDDEN:
      case CLOSE_NOT_FOUND:
        return this.failed(reason || `the server closed the terminal (${code})`);
      case CLOSE_UNAUTHORIZED:
        return [{ do: "authenticate" }, ...this.retry(chance)];
      case CLOSE_SLOW:
        this.attempt = 0;
        return this.retry(0);
      default:
        return this.retry(chance);
    }
  }

  /** No further try can help. */
  failed(reason: string): Effect[] {
    this.phase = { at: "failed", reason };
    return [{ do: "mark", mark: { type: "failed", reason } }, { do: "changed" }];
  }

  /** Begin again after the end: a new shell, or this page's turn after it was replaced. */
  reopen(): void {
    this.phase = { at: "connecting" };
    this.attempt = 0;
    this.pending = [];
    this.waiting = [];
    this.pendingBytes = this.waitingBytes = 0;
  }

  private get finished(): boolean {
    return ["over", "failed", "replaced"].includes(this.phase.at);
  }

  private attached(frame: Record<string, unknown>): Effect[] {
    const start = integer(frame["output_offset"], this.offset ?? 0);
    const effects: Effect[] = [];
    const before = this.offset;
    this.skip = before === null ? 0 : Math.max(before - start, 0);
    if (before === null || start > before) {
      this.offset = start;
      const lost = before === null ? start : start - before;
      if (before !== null || frame["truncated"] === true) {
        effects.push({ do: "mark", mark: { type: "truncated", bytes: lost } });
      }
    }
    this.answered = { from: Infinity, until: Infinity };
    this.answers(frame["answers"] === true, frame["answers_from"]);
    const accepted = integer(frame["input_offset"], 0);
    this.acknowledge(accepted);
    // A server that lost count of this client starts from its own number: count on from there.
    this.inputOffset = accepted;
    this.phase = { at: "attached" };
    this.status = "ready";
    this.attempt = 0;
    effects.push(...this.resized(frame));
    for (const piece of this.pending) effects.push(...sends(piece));
    effects.push(...this.goOn());
    if (!same(this.sentSize, this.size)) effects.push(...this.resize(this.size));
    effects.push({ do: "changed" });
    return effects;
  }

  private resized(frame: Record<string, unknown>): Effect[] {
    const size = { cols: integer(frame["cols"], 0), rows: integer(frame["rows"], 0) };
    if (size.cols < 1 || size.rows < 1) return [];
    this.sizes = frame["sizes"] === true;
    return [{ do: "size", ...size, ours: this.sizes }];
  }

  private answers(answers: boolean, offset: unknown): void {
    const at = integer(offset, this.offset ?? 0);
    if (answers) this.answered = { from: at, until: Infinity };
    else this.answered.until = at;
  }

  private restarted(): Effect[] {
    if (this.saidRestarted) return [];
    this.saidRestarted = true;
    return [{ do: "mark", mark: { type: "restarted" } }, { do: "changed" }];
  }

  private over(exitCode: number | null): Effect[] {
    if (this.phase.at === "over") return [];
    this.phase = { at: "over", exitCode };
    return [{ do: "mark", mark: { type: "over", exitCode } }, { do: "changed" }];
  }

  private retry(chance: number): Effect[] {
    this.attempt += 1;
    const seconds = backoffSeconds(this.attempt, chance);
    this.phase = { at: "waiting", seconds, attempt: this.attempt };
    return [{ do: "retry", seconds }, { do: "changed" }];
  }

  /** Send what waits as far as there is room for it. */
  private goOn(): Effect[] {
    const effects: Effect[] = [];
    for (let next = this.waiting[0]; next; next = this.waiting[0]) {
      if (this.pendingBytes + next.length > MAX_UNACKNOWLEDGED) break;
      this.waiting.shift();
      this.waitingBytes -= next.length;
      this.keep(next);
      if (this.phase.at === "attached") effects.push({ do: "send", data: next });
    }
    return effects;
  }

  /** The end of a bracketed paste, if it waits: without it the shell would take all that follows as pasted. */
  private endOfWaiting(): Uint8Array {
    const text = this.waiting.map((piece) => decoder.decode(piece)).join("");
    return encoder.encode(text.includes(PASTE_END) ? PASTE_END : "");
  }

  private keep(data: Uint8Array): void {
    this.pending.push(data);
    this.pendingBytes += data.length;
  }

  private acknowledge(offset: number): void {
    let count = Math.min(Math.max(offset - this.inputOffset, 0), this.pendingBytes);
    this.inputOffset = Math.max(this.inputOffset, offset);
    this.pendingBytes -= count;
    while (count > 0) {
      const first = this.pending[0]!;
      if (first.length > count) {
        this.pending[0] = first.subarray(count);
        return;
      }
      this.pending.shift();
      count -= first.length;
    }
  }
}

function sends(data: Uint8Array): Effect[] {
  const effects: Effect[] = [];
  for (let at = 0; at < data.length; at += MAX_FRAME) {
    effects.push({ do: "send", data: data.subarray(at, at + MAX_FRAME) });
  }
  return effects;
}

/** The bytes that bring a terminal to where the output begins that follows; none of the numbered bytes. */
function state(data: unknown): Effect[] {
  if (typeof data !== "string") return [];
  try {
    return [{ do: "state", data: Uint8Array.from(atob(data), (c) => c.charCodeAt(0)) }];
  } catch {
    return [];
  }
}

function sizing(frame: Record<string, unknown>): Effect[] {
  const rule = SIZING_RULES.find((known) => known === frame["rule"]);
  const listed = frame["windows"];
  if (rule === undefined || !Array.isArray(listed)) return [];
  const windows = listed.map((each: Record<string, unknown>) => ({
    label: String(each["label"] ?? ""),
    cols: integer(each["cols"], 0),
    rows: integer(each["rows"], 0),
    sets: each["sets"] === true,
    own: each["own"] === true,
  }));
  return [{ do: "sizing", sizing: { rule, windows } }];
}

function parse(raw: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(raw);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function integer(value: unknown, otherwise: number): number {
  return Number.isSafeInteger(value) ? (value as number) : otherwise;
}

function same(a: Size | null, b: Size | null): boolean {
  return a === b || (a !== null && b !== null && a.cols === b.cols && a.rows === b.rows);
}

function concat(parts: Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
