/**
 * Text that is not saved yet, kept in this browser (IndexedDB) until it is: a reload, a crash or the end
 * of a sign-in loses none of it. Bounded in number, size and age; the oldest go first.
 */

import { sessionId } from "./session";
import type { TextFormat } from "./text-file";

export interface Draft {
  session: string;
  path: string;
  text: string;
  format: TextFormat;
  /** The etag of the file that the text was made from; null: there was none. */
  etag: string | null;
  /** Seconds since 1970. */
  at: number;
}

export interface Kept {
  key: IDBValidKey;
  size: number;
  at: number;
}

export const MAX_DRAFTS = 60;
export const MAX_CHARACTERS = 24 << 20;
export const MAX_AGE_SECONDS = 30 * 86400;
const STORE = "drafts";

/** Which drafts to forget: the too old ones, and the oldest beyond the bounds. Pure. */
export function excess(all: readonly Kept[], now: number): IDBValidKey[] {
  let characters = 0;
  return [...all]
    .sort((a, b) => b.at - a.at)
    .filter(({ at, size }, index) => {
      characters += size;
      return index >= MAX_DRAFTS || characters > MAX_CHARACTERS || now - at > MAX_AGE_SECONDS;
    })
    .map(({ key }) => key);
}

/** Keep a draft in place of the former one of its file. Rejects where the browser keeps nothing. */
export async function putDraft(draft: Omit<Draft, "session">): Promise<void> {
  await change((store) => store.put({ ...draft, session: sessionId }));
}

export async function dropDraft(path: string): Promise<void> {
  await change((store) => store.delete([sessionId, path]));
}

/** Forget all drafts of this browser, as when somebody signs out. */
export async function dropDrafts(): Promise<void> {
  await change((store) => store.clear());
}

/** The drafts of this session; forgets what is beyond the bounds. */
export async function readDrafts(now: number): Promise<Draft[]> {
  const all = (await ask("readonly", (store) => store.getAll())) as Draft[];
  const kept = all.map(({ session, path, text, at }) => ({ key: [session, path], size: text.length, at }));
  const gone = new Set(excess(kept, now).map(String));
  for (const { key } of kept) if (gone.has(String(key))) await change((store) => store.delete(key));
  return all.filter(({ session, path }) => session === sessionId && !gone.has(String([session, path])));
}

let opening: Promise<IDBDatabase> | null = null;

function open(): Promise<IDBDatabase> {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("coditect", 1);
    request.onupgradeneeded = () =>
      request.result.createObjectStore(STORE, { keyPath: ["session", "path"] });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function ask<T>(
  mode: IDBTransactionMode,
  work: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T> {
  const database = await open();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, mode);
    const request = work(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error);
    transaction.commit(); // at once: the page may be about to go
  });
}

const change = <T>(work: (store: IDBObjectStore) => IDBRequest<T>) => ask("readwrite", work);
