/** Open files as tabs, and how they are saved. */

import { computed, type Signal, signal } from "@preact/signals";
import { ApiError, explain } from "../lib/api";
import { ask } from "../ui/dialog";
import { say, sayFailure } from "../ui/toasts";
import type { CodeView } from "./code-view";
import * as files from "./files";
import { type Memory, remember } from "./memory";
import { isText, isWithin, moved } from "./paths";
import { noteSave } from "./session";
import { listeners, touched } from "./tree-store";

export type TabState =
  | { is: "loading" }
  | { is: "open"; code: CodeView }
  | { is: "binary" | "large"; size: number }
  | { is: "failed"; reason: string };

export interface FileTab {
  readonly path: Signal<string>;
  readonly state: Signal<TabState>;
  readonly dirty: Signal<boolean>;
  readonly saving: Signal<boolean>;
  readonly receipt: Signal<files.Receipt | null>;
  /** What the file was when it was read or saved last; null: it was not there. */
  etag: string | null;
  /** The editor's text at that time. */
  saved: unknown;
}

const MAX_TABS = 40;

export const fileTabs = signal<FileTab[]>([]);
export const activeFile = signal<FileTab | null>(null);
export const anyDirty = computed(() => fileTabs.value.some((tab) => tab.dirty.value));

/** Open the files that were open before; one after another, the active one first. */
export async function restoreFiles(memory: Memory): Promise<void> {
  const tabs = memory.openFiles.map(newTab);
  fileTabs.value = tabs;
  activeFile.value = tabs.find((tab) => tab.path.value === memory.activeFile) ?? tabs[0] ?? null;
  if (activeFile.value) await loadTab(activeFile.value);
}

export async function openFile(path: string): Promise<void> {
  const known = fileTabs.value.find((tab) => tab.path.value === path);
  if (known) {
    showFile(known);
    return;
  }
  if (fileTabs.value.length >= MAX_TABS) {
    say(`At most ${MAX_TABS} files are open at once. Close some first.`, "bad");
    return;
  }
  const tab = newTab(path);
  fileTabs.value = [...fileTabs.value, tab];
  showFile(tab);
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
  await loadTab(tab);
}

/** Save; true when the server has said that it is durable. */
export async function saveFile(tab: FileTab): Promise<boolean> {
  const state = tab.state.value;
  if (state.is !== "open" || tab.saving.value) return false;
  return store(tab, state.code, tab.etag ?? "new");
}

async function store(tab: FileTab, code: CodeView, match: string | "new" | null): Promise<boolean> {
  const path = tab.path.value;
  const version = code.version;
  tab.saving.value = true;
  try {
    const receipt = await files.save(path, code.text, match);
    tab.etag = files.quoted(receipt.etag);
    tab.saved = version;
    tab.dirty.value = !code.equals(version);
    tab.receipt.value = receipt;
    noteSave(path, receipt.version);
    touched(path);
    return true;
  } catch (error) {
    tab.saving.value = false;
    if (error instanceof ApiError && error.status === 412) return settleConflict(tab, code);
    sayFailure(`“${path}” was not saved`, error);
    return false;
  } finally {
    tab.saving.value = false;
  }
}

async function settleConflict(tab: FileTab, code: CodeView): Promise<boolean> {
  const answer = await ask(
    "The file was changed elsewhere",
`“${tab.path.value}” was changed since you opened it. Read it again and lose your changes, or overwrite it with your text?`,
    [
      { value: "reload", label: "Read it again" },
      { value: "overwrite", label: "Overwrite with mine", kind: "danger" },
    ],
  );
  if (answer === "overwrite") return store(tab, code, null);
  if (answer === "reload") await loadTab(tab);
  return false;
}

async function loadTab(tab: FileTab): Promise<void> {
  const path = tab.path.value;
  try {
    const [content, { CodeView }] = await Promise.all([files.read(path), import("./code-view")]);
    if (content.kind !== "text") {
      tab.state.value = { is: content.kind, size: content.size };
      return;
    }
    const before = tab.state.value;
    if (before.is === "open") before.code.replace(content.text);
    const code = before.is === "open" ? before.code : makeCode(tab, content.text, CodeView);
    tab.etag = content.etag;
    tab.saved = code.version;
    tab.dirty.value = false;
    tab.receipt.value = null;
    tab.state.value = { is: "open", code };
  } catch (error) {
    if (tab.state.value.is !== "open") tab.state.value = { is: "failed", reason: explain(error) };
    else sayFailure(`“${path}” cannot be read`, error);
  }
}

function makeCode(tab: FileTab, text: string, View: typeof CodeView): CodeView {
  const code = new View({
    name: tab.path.value.slice(tab.path.value.lastIndexOf("/") + 1),
    text,
    onChange: () => {
      tab.dirty.value = !code.equals(tab.saved);
    },
    onSave: () => void saveFile(tab),
  });
  return code;
}

function newTab(path: string): FileTab {
  return {
    path: signal(path),
    state: signal<TabState>({ is: "loading" }),
    dirty: signal(false),
    saving: signal(false),
    receipt: signal<files.Receipt | null>(null),
    etag: null,
    saved: null,
  };
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
  if (tab.state.value.is === "open") tab.state.value.code.dispose();
  rememberFiles();
}

function rememberFiles(): void {
  const active = activeFile.value?.path.value ?? null;
  remember({
    open_files: fileTabs.value.map((tab) => tab.path.value).filter(isText),
    active_file: active !== null && isText(active) ? active : null,
  });
}

listeners.moved = (source, target) => {
  for (const tab of fileTabs.value) {
    if (isWithin(tab.path.value, source)) tab.path.value = moved(tab.path.value, source, target);
  }
  rememberFiles();
};

listeners.removed = (path) => {
  for (const tab of fileTabs.value) {
    if (isWithin(tab.path.value, path) && !tab.dirty.value) drop(tab);
  }
};

addEventListener("beforeunload", (event) => {
  if (anyDirty.value) event.preventDefault();
});
