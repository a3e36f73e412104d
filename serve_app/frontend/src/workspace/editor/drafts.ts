/**
 * Text that is not saved yet, kept in this browser (IndexedDB) until it is: a reload, a crash or the end
 * of a sign-in loses none of it. Bounded in number, size and age; the oldest go first.
 *
 * Each window keeps its own: two that edit one file do not replace each other's text. What a window left
 * behind is given to the next one that opens.
 */

import { sessionId } from "../session/session";
import type { TextFormat } from "./text-file";
import { type Windows, windows } from "../windows";

export interface Draft {
  /** The session and, behind a slash, the window. */
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

/** Choose the drafts to forget: the too old ones, and the oldest beyond the bounds. Pure. */
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

/** Choose the drafts that a window gives back: its own, and of windows that are gone the newest of each file. Pure. */
export function inherited(all: readonly Draft[], session: string, { mine, others }: Windows): Draft[] {
  const chosen = new Map<string, Draft>();
  const own = placeOf(session, mine);
  for (const draft of [...all].sort((a, b) => a.at - b.at)) {
    const [of, window = ""] = draft.session.split("/");
    if (of !== session || others.has(window)) continue;
    if (chosen.get(draft.path)?.session !== own) chosen.set(draft.path, draft);
  }
  return [...chosen.values()];
}

/** Keep a draft in place of this window's former one of its file. Rejects where the browser keeps nothing. */
export async function putDraft(draft: Omit<Draft, "session">): Promise<void> {
  const { mine } = await windows();
  await change((store) => store.put({ ...draft, session: placeOf(sessionId, mine) }));
}

export async function dropDraft(path: string): Promise<void> {
  const { mine } = await windows();
  await change((store) => store.delete([placeOf(sessionId, mine), path]));
}

function placeOf(session: string, window: string): string {
  return `${session}/${window}`;
}

/** Forget all drafts of this browser, as when somebody signs out. */
export async function dropDrafts(): Promise<void> {
  await change((store) => store.clear());
}

/** The drafts that are this window's from now on; forgets what is beyond the bounds. */
export async function readDrafts(now: number): Promise<Draft[]> {
  const all = (await ask("readonly", (store) => store.getAll())) as Draft[];
  const kept = all.map(({ session, path, text, at }) => ({ key: [session, path], size: text.length, at }));
  const gone = new Set(excess(kept, now).map(String));
  for (const { key } of kept) if (gone.has(String(key))) await change((store) => store.delete(key));
  const left = all.filter(({ session, path }) => !gone.has(String([session, path])));
  const known = await windows();
  const place = placeOf(sessionId, known.mine);
  const found = inherited(left, sessionId, known);
  for (const draft of found) {
    if (draft.session === place) continue;
    await change((store) => store.put({ ...draft, session: place }));
    await change((store) => store.delete([draft.session, draft.path]));
  }
  return found;
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
