/** Follows files that others change: a tab without changes of its own shows the new text at once. */

import { effect } from "@preact/signals";
import { ApiError } from "../../lib/api";
import { draftSoon, forgetDraft } from "../editor/drafting";
import { activeFile, adopt, codeOf, compare, type FileTab, type Outside } from "../files/tabs";
import * as files from "../files/files";
import { awake } from "./session";

const EVERY_MILLISECONDS = 4000;
/** Nobody who was idle for so long has their session kept awake by this page's looking. */
const LAST_INPUT_MILLISECONDS = 120_000;

const looking = new Set<FileTab>();

/** See whether a file is still what the tab has read, and follow it. */
export async function lookOutside(tab: FileTab): Promise<void> {
  if (tab.state.value.is === "media") return lookAtMedia(tab);
  const code = codeOf(tab);
  if (!code || tab.saving.value || looking.has(tab)) return;
  looking.add(tab);
  const known = tab.outside.value?.etag ?? tab.etag;
  try {
    const content = await files.read(tab.path.value, known);
    if (codeOf(tab) !== code || tab.saving.value) return;
    if (content.kind === "same") {
      if (known === tab.etag) tab.outside.value = null; // it is as it was again
      return;
    }
    if (content.kind === "text") {
      if (tab.etag === content.etag || tab.outside.value?.etag === content.etag) return;
      meet(tab, { etag: content.etag, file: content.file });
    } else meet(tab, { etag: null, file: null });
  } catch (error) {
    if (error instanceof ApiError && error.status === 404 && tab.etag !== null && !tab.saving.value) {
      meet(tab, { etag: null, file: null });
    }
  } finally {
    looking.delete(tab);
  }
}

/** Have an image read again if it is another one. */
async function lookAtMedia(tab: FileTab): Promise<void> {
  const state = tab.state.value;
  if (state.is !== "media" || tab.etag === null || looking.has(tab)) return;
  looking.add(tab);
  try {
    const changed = await files.isChanged(tab.path.value, tab.etag);
    if (changed && tab.state.value === state) tab.state.value = { ...state };
  } catch {
    // It is gone, or the server is: what was read is still shown.
  } finally {
    looking.delete(tab);
  }
}

function meet(tab: FileTab, now: Outside): void {
  const code = codeOf(tab);
  if (!code) return;
  if (now.file && !tab.dirty.value) adopt(tab, code, now.file, now.etag);
  else tab.outside.value = now;
}

/** Give up the tab's changes for what the file is now. */
export function takeTheirs(tab: FileTab): void {
  const code = codeOf(tab);
  const now = tab.outside.value;
  if (!code || !now?.file) return;
  code.replace(now.file, true); // so that giving up can be undone
  adopt(tab, code, now.file, now.etag);
  forgetDraft(tab);
}

/** Keep the tab's text: the next save replaces what the file is now. */
export function keepMine(tab: FileTab): void {
  tab.etag = tab.outside.value?.etag ?? null;
  tab.outside.value = null;
  tab.saved = null;
  compare(tab);
  draftSoon(tab);
}

/** Begin to look at the file that is shown, while somebody is at it. */
export function followOutside(): void {
  let lastInput = performance.now();
  const noteInput = () => {
    lastInput = performance.now();
  };
  for (const kind of ["keydown", "pointerdown", "pointermove", "wheel"]) {
    addEventListener(kind, noteInput, { capture: true, passive: true });
  }
  const look = () => {
    const here = document.visibilityState === "visible" && awake.value;
    if (activeFile.value && here) void lookOutside(activeFile.value);
  };
  setInterval(() => {
    if (performance.now() - lastInput < LAST_INPUT_MILLISECONDS) look();
  }, EVERY_MILLISECONDS);
  document.addEventListener("visibilitychange", look);
  effect(() => {
    if (activeFile.value) look();
  });
}
