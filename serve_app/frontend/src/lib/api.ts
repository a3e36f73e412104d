/**
 * Calls to the server. Browsers are known by a cookie; when it has expired it is renewed once and the
 * call is made again. What the server refuses comes as an `ApiError` with its problem document's code.
 */

import { send } from "./sending";
import { Topic } from "./topic";

const DEFAULT_TIMEOUT_SECONDS = 30;

/** The server refused, or could not be reached (`status` 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    /** Seconds after which the same call may work, when the server said so. */
    readonly retryAfter: number | null = null,
  ) {
    super(detail);
  }
}

export interface CallOptions {
  json?: unknown;
  body?: Exclude<BodyInit, ReadableStream>;
  /** Called with the bytes of the body that are out, and all of them. */
  onProgress?: (sent: number, all: number) => void;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  timeoutSeconds?: number;
  /** Send even though the page is going away. */
  keepalive?: boolean;
  /** Take a 401 for an answer instead of renewing the cookie. */
  unsigned?: boolean;
  /** Statuses other than 2xx that are no failure. */
  expected?: number[];
}

/** Emits when the cookie cannot be renewed. */
export const onSignedOut = new Topic();

/** Make a call and return the response of a success. Throws ApiError. */
export async function call(
  method: string,
  path: string,
  options: CallOptions = {},
): Promise<Response> {
  const fine = (response: Response) => response.ok || options.expected?.includes(response.status);
  const response = await once(method, path, options);
  if (fine(response)) {
    if (!options.unsigned) rememberSignedIn(true);
    return response;
  }
  if (response.status !== 401 || options.unsigned) throw await problem(response);
  if (!(await renew())) {
    rememberSignedIn(false);
    onSignedOut.emit();
    throw await problem(response);
  }
  const again = await once(method, path, options);
  if (fine(again)) return again;
  if (again.status === 401) onSignedOut.emit();
  throw await problem(again);
}

/** Make a call and return its JSON; the caller names the shape that the contract promises. */
export async function callJson<T>(
  method: string,
  path: string,
  options: CallOptions = {},
): Promise<T> {
  const response = await call(method, path, options);
  if (response.status === 204) return undefined as T;
  try {
    return (await response.json()) as T;
  } catch {
    throw new ApiError(response.status, "bad_answer", "The server's answer cannot be read.");
  }
}

export interface Providers {
  providers: (string | { name: string })[];
  /** True if this browser has cookies of a sign-in, good or not. */
  signed_in?: boolean;
}

export function providers(): Promise<Providers> {
  const options = { unsigned: true, timeoutSeconds: 8 };
  return callJson<Providers>("GET", "/api/v1/auth/providers", options);
}

const SIGNED_IN_KEY = "coditect.signed-in";
let rememberedSignedIn: boolean | null = null;

/** True if it makes sense to ask for what needs a sign-in: a stranger's refusal would stand in the browser's console. */
export async function maybeSignedIn(): Promise<boolean> {
  try {
    if (localStorage.getItem(SIGNED_IN_KEY) !== null) return true;
    return (await providers()).signed_in ?? true;
  } catch {
    return true;
  }
}

export function rememberSignedIn(signedIn: boolean): void {
  if (rememberedSignedIn === signedIn) return;
  rememberedSignedIn = signedIn;
  try {
    if (signedIn) localStorage.setItem(SIGNED_IN_KEY, "1");
    else localStorage.removeItem(SIGNED_IN_KEY);
  } catch {
    // Storage is closed to this page: the next one asks.
  }
}

let renewal: Promise<boolean> | null = null;

/** Renew the cookie; all callers of one moment share one attempt. False: sign in again. */
export function renew(): Promise<boolean> {
  renewal ??= once("POST", "/api/v1/auth/refresh", { json: {} })
    .then((response) => {
      if (response.ok) return true;
      if (response.status >= 500) throw new ApiError(response.status, "unavailable", "The server cannot renew the sign-in now.");
      return false;
    })
    .finally(() => {
      renewal = null;
    });
  return renewal;
}

const TICKET_KEY = "coditect.ticket";
const TICKET_MILLISECONDS = 20_000;

/** Keep the ticket of a login for the first socket of the next page. */
export function rememberTicket(ticket: string): void {
  try {
    sessionStorage.setItem(TICKET_KEY, JSON.stringify([ticket, Date.now()]));
  } catch {
    // Storage is closed to this page: the next one asks.
  }
}

function takeTicket(): string | null {
  try {
    const [ticket, at] = JSON.parse(sessionStorage.getItem(TICKET_KEY) ?? "[]") as [string?, number?];
    sessionStorage.removeItem(TICKET_KEY);
    const age = Date.now() - (at ?? 0);
    return ticket && age >= 0 && age < TICKET_MILLISECONDS ? ticket : null;
  } catch {
    return null;
  }
}

/** The address of a socket of this server, with a single-use ticket. Throws ApiError. */
export async function socketUrl(path: string, query: Record<string, string>): Promise<string> {
  const ticket = takeTicket() ?? (await freshTicket());
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  for (const [name, value] of Object.entries({ ...query, ticket })) url.searchParams.set(name, value);
  return url.href;
}

async function freshTicket(): Promise<string> {
  const answer = await callJson<{ ticket: string }>("POST", "/api/v1/auth/ticket", { timeoutSeconds: 10 });
  return answer.ticket;
}

/** A random id; also where `crypto.randomUUID` is closed (plain HTTP). */
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

/** The text for a person about a failure. */
export function explain(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function once(method: string, path: string, options: CallOptions): Promise<Response> {
  const headers: Record<string, string> = { accept: "application/json", ...options.headers };
  let body = options.body;
  if (options.json !== undefined) {
    headers["content-type"] = "application/json";
    body = JSON.stringify(options.json);
  }
  if (method !== "GET") headers["idempotency-key"] ??= randomId();
  const limit = AbortSignal.timeout((options.timeoutSeconds ?? DEFAULT_TIMEOUT_SECONDS) * 1000);
  const signal = options.signal ? anyOf(options.signal, limit) : limit;
  try {
    if (options.onProgress && body !== undefined) {
      return await send(method, path, { headers, body, signal, onProgress: options.onProgress });
    }
    return await fetch(path, {
      method,
      headers,
      signal,
      credentials: "same-origin",
      cache: "no-store",
      keepalive: options.keepalive ?? false,
      ...(body === undefined ? {} : { body }),
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    if (limit.aborted) throw new ApiError(0, "timeout", "The server did not answer in time.");
    throw new ApiError(0, "unreachable", "The server cannot be reached.");
  }
}

function anyOf(...signals: AbortSignal[]): AbortSignal {
  const any = new AbortController();
  for (const signal of signals) {
    if (signal.aborted) any.abort(signal.reason);
    signal.addEventListener("abort", () => any.abort(signal.reason), { once: true });
  }
  return any.signal;
}

async function problem(response: Response): Promise<ApiError> {
  let document: Record<string, unknown> = {};
  try {
    const value: unknown = await response.json();
    if (typeof value === "object" && value !== null) document = value as Record<string, unknown>;
  } catch {
    // Not a problem document: a proxy's page. The status says enough.
  }
  const after = Number(response.headers.get("retry-after") ?? document["retry_after"] ?? NaN);
  const detail = document["detail"] ?? document["title"] ?? `The server answered ${response.status}.`;
  return new ApiError(
    response.status,
    String(document["code"] ?? "unknown"),
    typeof detail === "string" ? detail : JSON.stringify(detail),
    Number.isFinite(after) ? Math.max(after, 0) : null,
  );
}
