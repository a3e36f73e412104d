/**
 * The session's one socket: its events, and its terminals as channels by name.
 *
 * A message is a name, a line feed, and a frame; without a name it is an event. The socket is opened when
 * somebody wants it, and its loss ends every channel: those who had one ask again.
 */

import { socketUrl } from "../../lib/api";
import { sessionPath } from "./session";

/** What a socket says of itself when it is lost without a word (RFC 6455, 7.4.1). */
export const LOST = 1006;

const LINE_FEED = 10;
/** How long the server may take to say that a terminal was left, while it says nothing else. */
const LEAVE_MILLISECONDS = 10_000;
/** How long a socket may take to open. */
const OPEN_MILLISECONDS = 15_000;
const MAX_NAME_BYTES = 512;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Who follows the session's events; the first of a socket is the session's state. */
export interface Follower {
  event(event: unknown): void;
  lost(): void;
}

/** Who reads a channel. */
export interface ChannelReader {
  message(data: string | Uint8Array): void;
  closed(code: number, reason: string): void;
}

/** The socket was closed before anything could be said on it. */
export class SocketClosed extends Error {
  constructor(
    readonly code: number,
    reason: string,
  ) {
    super(reason);
  }
}

let socket: WebSocket | null = null;
let opening: Promise<void> | null = null;
/** The socket that is being opened. */
let coming: WebSocket | null = null;
let heardAt = 0;
let follower: Follower | null = null;
const channels = new Map<string, Channel>();
/** Terminals that were left, until the server has said so: what comes before is of the channel that was. */
const leaving = new Map<string, { left: Promise<void>; done: () => void }>();

/** Tell `by` of the session's events, and of the loss of the socket that brings them. */
export function follow(by: Follower): void {
  follower = by;
  // A handshake that was begun on another network may never be answered.
  addEventListener("online", () => coming?.close());
}

/** Whether nothing at all has come on the socket for so long. */
export function silentFor(milliseconds: number): boolean {
  return performance.now() - heardAt >= milliseconds;
}

/** Return once there is a socket. Throws ApiError, SocketClosed. */
export async function connect(): Promise<void> {
  if (socket?.readyState === WebSocket.OPEN) return;
  opening ??= open().finally(() => {
    opening = null;
  });
  await opening;
}

/** A terminal on the session's socket. */
export class Channel {
  private readonly prefix: Uint8Array;

  private constructor(
    private readonly name: string,
    readonly reader: ChannelReader,
  ) {
    this.prefix = encoder.encode(`${name}\n`);
  }

  /** Attach to a terminal. Throws ApiError, SocketClosed. */
  static async open(
    name: string,
    parameters: Record<string, string>,
    reader: ChannelReader,
    wanted: () => boolean,
  ): Promise<Channel | null> {
    await connect();
    const before = leaving.get(name);
    while (before && leaving.get(name) === before && !(await soon(before.left))) {
      if (silentFor(LEAVE_MILLISECONDS)) abandon();
    }
    await connect();
    if (!wanted()) return null;
    if (socket?.readyState !== WebSocket.OPEN) throw new SocketClosed(LOST, "");
    const channel = new Channel(name, reader);
    channels.set(name, channel);
    channel.send(JSON.stringify({ type: "attach", ...parameters }));
    return channel;
  }

  send(frame: string | Uint8Array): void {
    if (socket?.readyState !== WebSocket.OPEN) return;
    if (typeof frame === "string") {
      socket.send(`${this.name}\n${frame}`);
      return;
    }
    const message = new Uint8Array(this.prefix.length + frame.length);
    message.set(this.prefix);
    message.set(frame, this.prefix.length);
    socket.send(message);
  }

  /** Leave the terminal; its reader hears nothing more. */
  close(): void {
    if (channels.get(this.name) !== this) return;
    channels.delete(this.name);
    if (socket?.readyState !== WebSocket.OPEN) return;
    let done = () => undefined as void;
    const left = new Promise<void>((resolve) => {
      done = resolve;
    });
    leaving.set(this.name, { left, done });
    this.send(JSON.stringify({ type: "detach" }));
  }
}

/** Give the socket up for a new one: nothing comes on it, and nothing says so. */
export function abandon(): void {
  const old = socket;
  if (!old) return;
  forget(old, LOST, "");
  old.close();
}

async function open(): Promise<void> {
  const next = new WebSocket(await socketUrl(`${sessionPath}/ws`, {}));
  next.binaryType = "arraybuffer";
  coming = next;
  const late = setTimeout(() => next.close(), OPEN_MILLISECONDS);
  try {
    await new Promise<void>((resolve, reject) => {
      next.onopen = () => resolve();
      next.onclose = (event) => reject(new SocketClosed(event.code, event.reason));
    });
  } finally {
    clearTimeout(late);
    coming = null;
  }
  socket = next;
  heardAt = performance.now();
  next.onmessage = (event: MessageEvent<string | ArrayBuffer>) => take(event.data);
  next.onclose = (event) => forget(next, event.code, event.reason);
}

function forget(old: WebSocket, code: number, reason: string): void {
  if (socket !== old) return;
  socket = null;
  old.onmessage = old.onclose = null;
  for (const { done } of leaving.values()) done();
  leaving.clear();
  const ended = [...channels.values()];
  channels.clear();
  for (const channel of ended) channel.reader.closed(code, reason);
  follower?.lost();
}

function take(message: string | ArrayBuffer): void {
  heardAt = performance.now();
  if (typeof message !== "string") {
    const bytes = new Uint8Array(message);
    const end = bytes.subarray(0, MAX_NAME_BYTES).indexOf(LINE_FEED);
    if (end < 0) return;
    const name = decoder.decode(bytes.subarray(0, end));
    if (!leaving.has(name)) channels.get(name)?.reader.message(bytes.subarray(end + 1));
    return;
  }
  const end = message.indexOf("\n");
  const name = message.slice(0, end);
  const frame = message.slice(end + 1);
  const said = frame.startsWith('{"type":"closed"') || name === "" ? parse(frame) : null;
  if (name === "") {
    if (said !== null) follower?.event(said);
    return;
  }
  const left = leaving.get(name);
  const channel = channels.get(name);
  if (said?.["type"] !== "closed") {
    if (!left) channel?.reader.message(frame);
  } else if (left) {
    leaving.delete(name);
    left.done();
  } else if (channel) {
    channels.delete(name);
    channel.reader.closed(Number(said["code"]) || LOST, String(said["reason"] ?? ""));
  }
}

function soon(event: Promise<void>): Promise<boolean> {
  const late = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), LEAVE_MILLISECONDS));
  return Promise.race([event.then(() => true), late]);
}

function parse(frame: string): Record<string, unknown> | null {
  try {
    return JSON.parse(frame) as Record<string, unknown>;
  } catch {
    return null;
  }
}
