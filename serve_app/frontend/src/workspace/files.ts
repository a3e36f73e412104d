/** Files of the session over HTTP. */

import { ApiError, call, callJson } from "../lib/api";
import { decodeName, encodePath } from "./paths";
import { sessionPath } from "./session";

export interface Entry {
  name: string;
  type: "file" | "directory" | "link" | "other" | (string & {});
  size: number;
  mtime: number;
  mode?: number;
  target?: string | null;
  /** The name's bytes, percent-encoded, when they are no UTF-8. */
  encoded?: string | null;
}

export interface Receipt {
  path: string;
  size: number;
  version: number;
  durable: boolean;
  etag?: string | null;
}

export interface Listing {
  entries: Entry[];
  truncated: boolean;
}

/** A file's text, or why it is not shown. */
export type Content =
  | { kind: "text"; text: string; etag: string | null }
  | { kind: "binary"; size: number }
  | { kind: "large"; size: number };

/** Larger files are offered for download instead of opened. */
export const MAX_EDITABLE = 4 << 20;
const PROBE_BYTES = 8192;
const TRANSFER_SECONDS = 3600;

export function fileUrl(path: string): string {
  return `${sessionPath}/files/${encodePath(path)}`;
}

/** List a directory: directories first, then by name as people count. */
export async function list(path: string, signal?: AbortSignal): Promise<Listing> {
  const answer = await callJson<{ entries: Entry[]; truncated?: boolean }>(
    "GET",
    `${sessionPath}/tree/${encodePath(path)}`,
    signal ? { signal } : {},
  );
  const entries = answer.entries.map((entry) =>
    entry.encoded ? { ...entry, name: decodeName(entry.encoded) } : entry,
  );
  return { entries: entries.sort(compare), truncated: answer.truncated ?? false };
}

/** Read a file for the editor. */
export async function read(path: string): Promise<Content> {
  const response = await call("GET", fileUrl(path), { headers: { accept: "*/*" } });
  const size = Number(response.headers.get("content-length") ?? 0);
  if (size > MAX_EDITABLE) {
    await response.body?.cancel();
    return { kind: "large", size };
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (bytes.length > MAX_EDITABLE) return { kind: "large", size: bytes.length };
  const text = decode(bytes);
  if (text === null) return { kind: "binary", size: bytes.length };
  return { kind: "text", text, etag: response.headers.get("etag") };
}

/** The text of some bytes, byte for byte recoverable; null when they are not UTF-8 text. Pure. */
export function decode(bytes: Uint8Array): string | null {
  if (bytes.subarray(0, PROBE_BYTES).includes(0)) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** The line break that keeps a text as it is: CRLF only when every line ends so. Pure. */
export function lineBreak(text: string): "\n" | "\r\n" {
  const crlf = text.split("\r\n").length - 1;
  const lf = text.split("\n").length - 1;
  const cr = text.split("\r").length - 1;
  return crlf > 0 && crlf === lf && crlf === cr ? "\r\n" : "\n";
}

/** Save a file. `match` is the etag it must still have, "new" for one that must not be there. */
export async function save(
  path: string,
  body: Blob | string,
  match: string | "new" | null,
): Promise<Receipt> {
  const headers: Record<string, string> = { "content-type": "application/octet-stream" };
  if (match === "new") headers["if-none-match"] = "*";
  else if (match !== null) headers["if-match"] = match;
  return callJson<Receipt>("PUT", fileUrl(path), {
    headers,
    body: typeof body === "string" ? new Blob([body]) : body,
    timeoutSeconds: TRANSFER_SECONDS,
  });
}

export async function remove(path: string, recursive: boolean): Promise<void> {
  await call("DELETE", `${fileUrl(path)}${recursive ? "?recursive=1" : ""}`);
}

export async function move(source: string, target: string): Promise<void> {
  await call("POST", `${sessionPath}/move`, { json: { source, target } });
}

export async function makeDirectory(path: string): Promise<void> {
  await call("POST", `${sessionPath}/directories`, { json: { path } });
}

/** Let the browser download a file; the cookie is renewed first if it has to be. */
export async function download(path: string): Promise<void> {
  await call("GET", "/api/v1/auth/me");
  const link = document.createElement("a");
  link.href = fileUrl(path);
  link.download = path.slice(path.lastIndexOf("/") + 1);
  link.click();
}

/** Whether a save or creation was refused because somebody was there before. */
export function isConflict(error: unknown): boolean {
  return error instanceof ApiError && [409, 412].includes(error.status);
}

/** The etag header that names a receipt's state. */
export function quoted(etag: string | null | undefined): string | null {
  if (!etag) return null;
  return /^(W\/)?".*"$/.test(etag) ? etag : `"${etag}"`;
}

function compare(a: Entry, b: Entry): number {
  const kinds = Number(b.type === "directory") - Number(a.type === "directory");
  return kinds || a.name.localeCompare(b.name, undefined, { numeric: true });
}
