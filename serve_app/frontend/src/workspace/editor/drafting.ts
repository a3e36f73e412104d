/** Keeps what is not saved, a moment after it was typed, and gives it back to the next page. */

import { sayFailure } from "../../ui/toasts";
import { type Draft, dropDraft, putDraft, readDrafts } from "./drafts";
import { codeOf, type FileTab, fileTabs } from "../files/tabs";
import { readPlaces, writePlaces } from "../places";

const QUIET_MILLISECONDS = 300;

const waiting = new Map<FileTab, ReturnType<typeof setTimeout>>();
const unkept = new Set<FileTab>();
let found = new Map<string, Draft>();
let reported = false;

/** Read what earlier pages kept of this session; returns the paths, for the tabs to be opened. */
export async function findDrafts(): Promise<string[]> {
  try {
    const drafts = await readDrafts(Date.now() / 1000);
    found = new Map(drafts.map((draft) => [draft.path, draft]));
  } catch {
    // A browser that keeps nothing has nothing to give back.
  }
  return [...found.keys()];
}

/** Return what was kept of a file, once. */
export function takeDraft(path: string): Draft | null {
  const draft = found.get(path) ?? null;
  found.delete(path);
  return draft;
}

/** Call whenever a tab's text, or whether it is saved, has changed. */
export function draftSoon(tab: FileTab): void {
  unkept.add(tab);
  clearTimeout(waiting.get(tab));
  waiting.set(
    tab,
    setTimeout(() => void keep(tab), QUIET_MILLISECONDS),
  );
}

/** Forget what was kept of a tab: it was saved, or given up. */
export function forgetDraft(tab: FileTab, path = tab.path.value): void {
  clearTimeout(waiting.get(tab));
  waiting.delete(tab);
  unkept.delete(tab);
  dropDraft(path).catch(() => undefined);
}

async function keep(tab: FileTab): Promise<void> {
  clearTimeout(waiting.get(tab));
  waiting.delete(tab);
  const code = codeOf(tab);
  const format = tab.format.value;
  const path = tab.path.value;
  try {
    if (!code || !format || !tab.dirty.value) await dropDraft(path);
    else {
      await putDraft({ path, text: code.text, format, etag: tab.etag, at: Date.now() / 1000 });
    }
    if (!waiting.has(tab)) unkept.delete(tab);
  } catch (error) {
    if (!reported) sayFailure("This browser does not keep unsaved text", error);
    reported = true;
  }
}

function leave(): void {
  for (const tab of [...waiting.keys()]) void keep(tab);
  const places = readPlaces();
  for (const tab of fileTabs.value) {
    const code = codeOf(tab);
    if (code) places[tab.path.value] = code.place;
  }
  writePlaces(places);
}

addEventListener("pagehide", leave);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") leave();
});

// Only what could not be kept is worth a question.
addEventListener("beforeunload", (event) => {
  leave();
  if ([...unkept].some((tab) => tab.dirty.value)) event.preventDefault();
});
