/** Files of the session over HTTP. */

import { ApiError, call, callJson } from "../../lib/api";
import { baseName, encodePath } from "./paths";
import { sessionPath } from "../session/session";
import { decode, type TextFile } from "../editor/text-file";

export interface Entry {
  /** Bytes that are no UTF-8 are lone surrogates, U+DC80 to U+DCFF (PEP 383). */
  name: string;
  type: "file" | "directory" | "link" | "other" | (string & {});
  size: number;
  mtime: number;
  mode?: number;
  target?: string | null;
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

/** A file's text, or why it is not shown; "same" when it is as the given etag says. */
export type Content =
  | { kind: "text"; file: TextFile; etag: string | null }
  | { kind: "binary" | "large"; size: number }
  | { kind: "same" };

/** Larger files are offered for download instead of opened. */
export const MAX_EDITABLE = 4 << 20;
/** Entries of one directory that are listed; where there are more, the tree says so. */
export const MAX_LISTED = 100_000;
const TRANSFER_SECONDS = 3600;

export function fileUrl(path: string): string {
  return `${sessionPath}/files/${encodePath(path)}`;
}

interface Page {
  entries: Entry[];
  next?: string | null;
}

/** List a directory, page by page: directories first, then by name as people count. */
export async function list(path: string, signal?: AbortSignal): Promise<Listing> {
  const address = `${sessionPath}/tree/${encodePath(path)}`;
  const entries: Entry[] = [];
  let next: string | null | undefined = "";
  while (typeof next === "string" && entries.length < MAX_LISTED) {
    const query: string = next === "" ? "" : `?after=${encodePath(next)}`;
    const page: Page = await callJson<Page>("GET", address + query, signal ? { signal } : {});
    entries.push(...page.entries);
    next = page.next;
  }
  return { entries: entries.sort(compare), truncated: typeof next === "string" };
}

/** Read a file for the editor; with `known`, only if it is not what that etag names. */
export async function read(path: string, known: string | null = null): Promise<Content> {
  const headers = { accept: "*/*", ...(known === null ? {} : { "if-none-match": known }) };
  const response = await call("GET", fileUrl(path), { headers, expected: [304] });
  if (response.status === 304) return { kind: "same" };
  return contentOf(response);
}

/** A file's bytes, if it has no more than so many. */
export async function readBytes(
  path: string,
  limit: number,
  signal: AbortSignal,
): Promise<{ kind: "bytes"; blob: Blob; etag: string | null } | { kind: "large"; size: number }> {
  const response = await call("GET", fileUrl(path), { headers: { accept: "*/*" }, signal, timeoutSeconds: TRANSFER_SECONDS });
  const size = Number(response.headers.get("content-length") ?? 0);
  if (size > limit) {
    await response.body?.cancel();
    return { kind: "large", size };
  }
  return { kind: "bytes", blob: await response.blob(), etag: response.headers.get("etag") };
}

/** The first bytes of a file as text, whatever encoding they are in. */
export async function readBeginning(path: string, bytes: number, signal: AbortSignal): Promise<string> {
  const headers = { accept: "*/*", range: `bytes=0-${bytes - 1}` };
  const response = await call("GET", fileUrl(path), { headers, signal });
  return response.text();
}

/** True if a file is not what an etag names. */
export async function isChanged(path: string, known: string): Promise<boolean> {
  const headers = { accept: "*/*", "if-none-match": known };
  return (await call("HEAD", fileUrl(path), { headers, expected: [304] })).status !== 304;
}

/** Read a kept version of a file. */
export async function readVersion(path: string, version: number): Promise<Content> {
  return contentOf(await call("GET", `${fileUrl(path)}?version=${version}`, { headers: { accept: "*/*" } }));
}

async function contentOf(response: Response): Promise<Content> {
  const size = Number(response.headers.get("content-length") ?? 0);
  if (size > MAX_EDITABLE) {
    await response.body?.cancel();
    return { kind: "large", size };
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (bytes.length > MAX_EDITABLE) return { kind: "large", size: bytes.length };
  const file = decode(bytes);
  if (file === null) return { kind: "binary", size: bytes.length };
  return { kind: "text", file, etag: response.headers.get("etag") };
}

/** Save a file. `match` is the etag it must still have, "new" for one that must not be there. */
export async function save(
  path: string,
  body: Blob,
  match: string | "new" | null,
): Promise<Receipt> {
  const headers: Record<string, string> = { "content-type": "application/octet-stream" };
  if (match === "new") headers["if-none-match"] = "*";
  else if (match !== null) headers["if-match"] = match;
  return callJson<Receipt>("PUT", fileUrl(path), {
    headers,
    body,
    timeoutSeconds: TRANSFER_SECONDS,
  });
}

export async function remove(path: string, recursive: boolean): Promise<void> {
  await call("DELETE", `${fileUrl(path)}${recursive ? "?recursive=1" : ""}`);
}

export async function move(source: string, target: string): Promise<void> {
  await call("POST", `${sessionPath}/move`, { json: { source, target } });
}

/** What became of an archive; `failed` are the first of those that were not made. */
export interface Unpacked {
  version: number;
  made: number;
  failed: { path: string; reason: string }[];
  more_failed: number;
}

/** Unpack a tar stream below a directory; `onProgress` is told of its bytes on their way. */
export async function unpack(
  directory: string,
  body: Blob,
  onProgress: (sent: number, all: number) => void,
): Promise<Unpacked> {
  return callJson<Unpacked>("PUT", `${sessionPath}/archive/${encodePath(directory)}`, {
    headers: { "content-type": "application/x-tar" },
    body,
    onProgress,
    timeoutSeconds: TRANSFER_SECONDS,
  });
}

export async function makeDirectory(path: string): Promise<void> {
  await call("POST", `${sessionPath}/directories`, { json: { path } });
}

export interface Version {
  version: number;
  /** Seconds since 1970. */
  at: number;
  type: "file" | "directory" | "link" | "deleted";
  size: number;
}

/** The kept versions of a file, the newest first; at most one page of them, before `before`. */
export async function history(path: string, before?: number): Promise<Version[]> {
  const query = before === undefined ? "" : `?before=${before}`;
  const found = await callJson<{ versions: Version[] }>(
    "GET",
    `${sessionPath}/history/${encodePath(path)}${query}`,
  );
  return found.versions;
}

export async function restore(path: string, version: number): Promise<Receipt> {
  return callJson<Receipt>("POST", `${sessionPath}/restore`, { json: { path, version } });
}

/** Let the browser download a file; the cookie is renewed first if it has to be. */
export async function download(path: string, version?: number): Promise<void> {
  await follow(`${fileUrl(path)}${version === undefined ? "" : `?version=${version}`}`, baseName(path));
}

/** Let the browser download a directory; "" is the whole workspace. */
export async function downloadArchive(path: string): Promise<void> {
  await follow(`${sessionPath}/archive/${encodePath(path)}`, `${baseName(path) || "workspace"}.tar`);
}

async function follow(url: string, name: string): Promise<void> {
  await call("GET", "/api/v1/auth/me");
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

/** True if a save or creation was refused because somebody was there before. */
export function isConflict(error: unknown): boolean {
  return error instanceof ApiError && [409, 412].includes(error.status);
}

/** The etag header that names a receipt's state. */
export function quoted(etag: string | null | undefined): string | null {
  if (!etag) return null;
  return /^(W\/)?".*"$/.test(etag) ? etag : `"${etag}"`;
}

// One collator for all: `localeCompare` would make one for every pair.
const byName = new Intl.Collator(undefined, { numeric: true });

function compare(a: Entry, b: Entry): number {
  const kinds = Number(b.type === "directory") - Number(a.type === "directory");
  return kinds || byName.compare(a.name, b.name);
}
