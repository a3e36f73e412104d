/** Opens, shows, saves and closes files. */

import { ApiError, explain } from "../../lib/api";
import { ask } from "../../ui/dialog";
import { say, sayFailure } from "../../ui/toasts";
import type { CodeView } from "./code-view";
import { compareTexts } from "./diff";
import { draftSoon, findDrafts, forgetDraft, takeDraft } from "./drafting";
import type { Draft } from "./drafts";
import { activeFile, adopt, codeOf, compare, type FileTab, fileTabs, MAX_TABS, newTab } from "../files/tabs";
import * as files from "../files/files";
import { type Memory, remember } from "../session/memory";
import { lookOutside } from "../session/outside";
import { isText, isWithin, moved } from "../files/paths";
import { readPlaces } from "../places";
import { noteSave } from "../session/session";
import { mediaOf, renderedAs } from "../preview/kinds";
import { preferPreview } from "../../lib/preferences";
import { encode, lacking, NAMES, type TextFile } from "./text-file";
import { onMoved, onRemoved, touched } from "../files/tree-store";

/** Open the files that were open before, and those with changes that were not saved. */
export async function restoreFiles(memory: Memory): Promise<void> {
  const drafts = await findDrafts();
  const paths = [...new Set([...memory.openFiles, ...drafts])].slice(0, MAX_TABS);
  const tabs = paths.map(newTab);
  fileTabs.value = tabs;
  activeFile.value = tabs.find((tab) => tab.path.value === memory.activeFile) ?? tabs[0] ?? null;
  if (activeFile.value) await loadTab(activeFile.value);
  for (const tab of tabs) {
    if (tab !== activeFile.value && drafts.includes(tab.path.value)) await loadTab(tab);
  }
}

/** Show a file, opening it if it is not; with `focus` the cursor goes there. */
export async function openFile(path: string, focus = false): Promise<void> {
  const known = fileTabs.value.find((tab) => tab.path.value === path);
  if (!known && fileTabs.value.length >= MAX_TABS) {
    say(`At most ${MAX_TABS} files are open at once. Close some first.`, "bad");
    return;
  }
  const tab = known ?? newTab(path);
  tab.wantsFocus = focus;
  if (!known) fileTabs.value = [...fileTabs.value, tab];
  showFile(tab);
  if (focus) codeOf(tab)?.focus();
}

/** Show a line of a file, from 1, with a text in it selected. */
export async function openAt(path: string, line: number, text: string): Promise<void> {
  await openFile(path, true);
  const tab = fileTabs.value.find((each) => each.path.value === path);
  if (!tab) return;
  tab.previewing.value = false;
  const code = codeOf(tab);
  if (code) code.goToLine(line, text);
  else tab.wantsLine = { line, text };
}

export function showFile(tab: FileTab): void {
  activeFile.value = tab;
  if (tab.state.value.is === "loading") void loadTab(tab);
  rememberFiles();
}

export function showNextFile(step: number): void {
  const all = fileTabs.value;
  const index = activeFile.value ? all.indexOf(activeFile.value) : 0;
  const next = all[(index + step + all.length) % all.length];
  if (next) showFile(next);
}

export async function closeFile(tab: FileTab): Promise<void> {
  if (tab.dirty.value) {
    const answer = await ask("Save changes?", `“${tab.path.value}” has changes that are not saved.`, [
      { value: "drop", label: "Do not save", kind: "danger" },
      { value: "save", label: "Save", kind: "primary" },
    ]);
    if (answer === null) return;
    if (answer === "save" && !(await saveFile(tab))) return;
  }
  forgetDraft(tab);
  drop(tab);
}

/** Read a file again; what was typed meanwhile is asked about. */
export async function reloadFile(tab: FileTab): Promise<void> {
  if (tab.dirty.value) {
    const answer = await ask("Read the file again?", "Your changes to it are given up.", [
      { value: "yes", label: "Give up changes", kind: "danger" },
    ]);
    if (answer !== "yes") return;
  }
  forgetDraft(tab);
  await loadTab(tab);
}

/** Save; true when the server has said that it is durable. */
export async function saveFile(tab: FileTab): Promise<boolean> {
  const code = codeOf(tab);
  if (!code || tab.saving.value) return false;
  const content = await bytesOf(tab, code);
  if (!content || tab.saving.value) return false;
  const path = tab.path.value;
  const version = code.version;
  tab.saving.value = true;
  try {
    const receipt = await files.save(path, new Blob([content]), tab.etag ?? "new");
    tab.etag = files.quoted(receipt.etag);
    tab.saved = version;
    tab.outside.value = null;
    tab.restored.value = null;
    tab.receipt.value = receipt;
    compare(tab);
    draftSoon(tab);
    noteSave(path, receipt.version);
    touched(path);
    return true;
  } catch (error) {
    tab.saving.value = false;
    if (!(error instanceof ApiError && error.status === 412)) {
      sayFailure(`“${path}” was not saved`, error);
      return false;
    }
    say(`“${path}” was not saved: the file has changed meanwhile.`, "bad");
    await lookOutside(tab);
    return false;
  } finally {
    tab.saving.value = false;
  }
}

/** The bytes to save; null when they cannot be encoded and the person did not choose another encoding. */
async function bytesOf(tab: FileTab, code: CodeView): Promise<Uint8Array<ArrayBuffer> | null> {
  const format = tab.format.value;
  if (!format) return null;
  const content = encode(code.text, format);
  if (content) return content;
  const character = lacking(code.text, format.encoding);
  if (format.encoding === "utf-8") {
    say("The text has half a character in it and cannot be saved.", "bad");
    return null;
  }
  const answer = await ask(
    `${NAMES[format.encoding]} has no “${character}”`,
    "The file is not in UTF-8, and its encoding lacks characters of your text.",
    [{ value: "utf-8", label: "Save as UTF-8", kind: "primary" }],
  );
  if (answer !== "utf-8") return null;
  toUnicode(tab);
  return encode(code.text, tab.format.value ?? format);
}

/** Write the file in UTF-8 from now on. */
export function toUnicode(tab: FileTab): void {
  const format = tab.format.value;
  if (!format) return;
  tab.format.value = { ...format, encoding: "utf-8", bom: false };
  tab.saved = null; // the same text, in other bytes
  compare(tab);
  draftSoon(tab);
}

/** Show what was changed since the file was read or saved last. */
export async function compareWithSaved(tab: FileTab): Promise<void> {
  const code = codeOf(tab);
  if (!code) return;
  const path = tab.path.value;
  try {
    const now = await readOrNone(path, null);
    const saved = now?.kind === "text" ? now.file.text : "";
    compareTexts(path, { name: "The file", text: saved }, { name: "Yours, not saved", text: code.text });
  } catch (error) {
    sayFailure(`“${path}” cannot be read`, error);
  }
}

/** Show a file as it reads, or its text; others of its kind that are opened are shown so, too. */
export function togglePreview(tab: FileTab): void {
  const kind = renderedAs(tab.path.value);
  if (!kind || tab.state.value.is !== "open") return;
  tab.wantsFocus = true;
  tab.previewing.value = !tab.previewing.value;
  preferPreview(kind, tab.previewing.value);
}

/** Show the text of a file that has an image's name. */
export async function openAsText(tab: FileTab): Promise<void> {
  await loadTab(tab, true);
}

async function loadTab(tab: FileTab, asText = tab.state.value.is === "open"): Promise<void> {
  const path = tab.path.value;
  const draft = takeDraft(path);
  const kind = mediaOf(path);
  if (kind && !draft && !asText) {
    tab.state.value = { is: "media", kind };
    return;
  }
  try {
    const [content, { CodeView }] = await Promise.all([readOrNone(path, draft), import("./code-view")]);
    if (content !== null && content.kind !== "text") {
      if (content.kind !== "same") tab.state.value = { is: content.kind, size: content.size };
      return;
    }
    const now = content?.file ?? null;
    const first = now ?? { text: "", format: draft!.format };
    const code = codeOf(tab) ?? makeCode(tab, first, CodeView);
    tab.state.value = { is: "open", code };
    tab.receipt.value = null;
    adopt(tab, code, first, content?.etag ?? null);
    if (draft && draft.text !== now?.text) giveBack(tab, code, draft, now);
    else if (draft) forgetDraft(tab);
    const place = readPlaces()[path];
    if (tab.wantsLine) code.goToLine(tab.wantsLine.line, tab.wantsLine.text);
    else if (place) code.goTo(place);
    tab.wantsLine = null;
  } catch (error) {
    if (tab.state.value.is !== "open") tab.state.value = { is: "failed", reason: explain(error) };
    else sayFailure(`“${path}” cannot be read`, error);
  }
}

/** A file's content; null for one that is gone, but of which there are changes to give back. */
async function readOrNone(path: string, draft: Draft | null): Promise<files.Content | null> {
  try {
    return await files.read(path);
  } catch (error) {
    if (draft && error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

/** Show what was kept of unsaved changes, and say so if the file is not what they were made from. */
function giveBack(tab: FileTab, code: CodeView, draft: Draft, now: TextFile | null): void {
  const etag = tab.etag;
  if (now === null) tab.saved = null;
  code.replace({ text: draft.text, format: draft.format }, true);
  tab.format.value = draft.format;
  tab.restored.value = draft.at;
  if (draft.etag !== etag) {
    tab.outside.value = { etag, file: now };
    tab.etag = draft.etag;
  }
  compare(tab);
}

function makeCode(tab: FileTab, file: TextFile, View: typeof CodeView): CodeView {
  return new View({
    name: tab.path.value.slice(tab.path.value.lastIndexOf("/") + 1),
    file,
    onChange: () => {
      tab.revision.value += 1;
      compare(tab);
      draftSoon(tab);
    },
    onSave: () => void saveFile(tab),
  });
}

function drop(tab: FileTab): void {
  const all = fileTabs.value;
  const index = all.indexOf(tab);
  const rest = all.filter((each) => each !== tab);
  fileTabs.value = rest;
  if (activeFile.value === tab) {
    const next = rest[Math.min(index, rest.length - 1)] ?? null;
    if (next) showFile(next);
    else activeFile.value = null;
  }
  codeOf(tab)?.dispose();
  rememberFiles();
}

function rememberFiles(): void {
  const active = activeFile.value?.path.value ?? null;
  remember({
    open_files: fileTabs.value.map((tab) => tab.path.value).filter(isText),
    active_file: active !== null && isText(active) ? active : null,
  });
}

onMoved.subscribe((source, target) => {
  for (const tab of fileTabs.value) {
    const path = tab.path.value;
    if (!isWithin(path, source)) continue;
    forgetDraft(tab, path);
    tab.path.value = moved(path, source, target);
    if (tab.dirty.value) draftSoon(tab);
  }
  rememberFiles();
});

onRemoved.subscribe((path) => {
  for (const tab of fileTabs.value) {
    if (isWithin(tab.path.value, path) && !tab.dirty.value) drop(tab);
  }
});
