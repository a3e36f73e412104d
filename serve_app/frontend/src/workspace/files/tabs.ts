/** The model of open files: one `FileTab` each, and which of them is shown. */

import { computed, type Signal, signal } from "@preact/signals";
import type { CodeView } from "../editor/code-view";
import type { Receipt } from "./files";
import type { TextFile, TextFormat } from "../editor/text-file";
import { type Media, renderedAs } from "../preview/kinds";
import { previewed } from "../../lib/preferences";

export type TabState =
  | { is: "loading" }
  | { is: "open"; code: CodeView }
  | { is: "media"; kind: Media }
  | { is: "binary" | "large"; size: number }
  | { is: "failed"; reason: string };

/** The fate of the file while the tab has changes of its own; null `file`: it is gone, or no text. */
export interface Outside {
  etag: string | null;
  file: TextFile | null;
}

export interface FileTab {
  readonly path: Signal<string>;
  readonly state: Signal<TabState>;
  readonly dirty: Signal<boolean>;
  readonly saving: Signal<boolean>;
  readonly receipt: Signal<Receipt | null>;
  readonly format: Signal<TextFormat | null>;
  readonly outside: Signal<Outside | null>;
  /** The time at which the changes were made that this page found kept in the browser; seconds since 1970. */
  readonly restored: Signal<number | null>;
  /** True if the file is shown as it reads, and not its text. */
  readonly previewing: Signal<boolean>;
  /** Counts the changes of the editor's text. */
  readonly revision: Signal<number>;
  /** The state of the file when it was read or saved last; null: it was not there. */
  etag: string | null;
  /** The editor's text at that time; null: no text at all. */
  saved: unknown;
  /** True if the editor is to get the focus when it is shown. */
  wantsFocus: boolean;
  /** The line to be shown when the text is there. */
  wantsLine: { line: number; text: string } | null;
}

export const MAX_TABS = 40;

export const fileTabs = signal<FileTab[]>([]);
export const activeFile = signal<FileTab | null>(null);
export const anyDirty = computed(() => fileTabs.value.some((tab) => tab.dirty.value));

export function newTab(path: string): FileTab {
  return {
    path: signal(path),
    state: signal<TabState>({ is: "loading" }),
    dirty: signal(false),
    saving: signal(false),
    receipt: signal<Receipt | null>(null),
    format: signal<TextFormat | null>(null),
    outside: signal<Outside | null>(null),
    restored: signal<number | null>(null),
    previewing: signal(previewed.peek().has(renderedAs(path) ?? "")),
    revision: signal(0),
    etag: null,
    saved: null,
    wantsFocus: false,
    wantsLine: null,
  };
}

export function codeOf(tab: FileTab): CodeView | null {
  return tab.state.value.is === "open" ? tab.state.value.code : null;
}

/** Take what the file is now for the tab's text; changes that were made to it are given up. */
export function adopt(tab: FileTab, code: CodeView, file: TextFile, etag: string | null): void {
  code.replace(file, false);
  tab.format.value = file.format;
  tab.etag = etag;
  tab.saved = code.version;
  tab.dirty.value = false;
  tab.outside.value = null;
  tab.restored.value = null;
}

/** Look whether the tab's text is still the saved one. */
export function compare(tab: FileTab): void {
  const code = codeOf(tab);
  tab.dirty.value = code !== null && (tab.saved === null || !code.equals(tab.saved));
}
