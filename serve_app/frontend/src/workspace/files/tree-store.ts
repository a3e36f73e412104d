/** The file tree's state: which directories are open, and what is in them. */

import { computed, signal } from "@preact/signals";
import { explain } from "../../lib/api";
import { Topic } from "../../lib/topic";
import { confirm } from "../../ui/dialog";
import { say, sayFailure } from "../../ui/toasts";
import * as files from "./files";
import { expandedPatch, remember } from "../session/memory";
import { baseName, isWithin, join, moved, outer, parent } from "./paths";

interface Directory {
  entries: files.Entry[];
  truncated: boolean;
  error: string | null;
  loading: boolean;
  shown: number;
}

export type Row =
  | { kind: "entry"; path: string; entry: files.Entry; level: number; open: boolean; busy: boolean }
  | { kind: "more"; path: string; level: number; hidden: number }
  | { kind: "note"; path: string; level: number; text: string };

/** A name that is being typed: a new entry in a directory, or another name for an entry. */
export type Draft =
  | { kind: "file" | "directory"; directory: string }
  | { kind: "rename"; path: string };

const PAGE = 400;
const MAX_REFRESHED = 24;
const MAX_NAMED = 8;

const directories = signal<Record<string, Directory>>({});
const expanded = signal<ReadonlySet<string>>(new Set([""]));
export const selected = signal<string>("");
export const draft = signal<Draft | null>(null);

/** Emits the path that something had and the one that it has. */
export const onMoved = new Topic<[source: string, target: string]>();
/** Emits the path of what was deleted. */
export const onRemoved = new Topic<[path: string]>();

/** The tree as lines from top to bottom. */
export const rows = computed<Row[]>(() => {
  const all: Row[] = [];
  collect("", 1, all);
  return all;
});

export const treeError = computed(() => directories.value[""]?.error ?? null);
export const treeLoading = computed(() => directories.value[""]?.loading ?? true);

/** Read a directory again, quietly if it is known already. */
export async function load(path: string): Promise<void> {
  const known = directories.value[path];
  if (!known) put(path, { entries: [], truncated: false, error: null, loading: true, shown: PAGE });
  try {
    const { entries, truncated } = await files.list(path);
    put(path, { entries, truncated, error: null, loading: false, shown: known?.shown ?? PAGE });
  } catch (error) {
    put(path, { ...(directories.value[path] ?? known!), loading: false, error: explain(error) });
  }
}

/** Read all open directories again. */
export async function refresh(): Promise<void> {
  const open = [...expanded.value].filter((path) => path === "" || isShown(path));
  for (const path of open.slice(0, MAX_REFRESHED)) await load(path);
}

/** Read a directory again if the tree shows it. */
export function touched(path: string): void {
  const directory = parent(path);
  if (expanded.value.has(directory)) void load(directory);
}

/** Open the tree as it was left; what is gone meanwhile is closed. */
export async function restoreTree(paths: readonly string[]): Promise<void> {
  expanded.value = new Set(["", ...paths]);
  await refresh();
  const gone = [...expanded.value].filter((path) => directories.value[path]?.error && path !== "");
  for (const path of gone) collapse(path);
}

export function expand(path: string): void {
  if (expanded.value.has(path)) return;
  setExpanded([...expanded.value, path]);
  void load(path);
}

export function collapse(path: string): void {
  setExpanded([...expanded.value].filter((each) => each !== path));
}

function setExpanded(paths: string[]): void {
  expanded.value = new Set(paths);
  remember({ expanded_folders: expandedPatch(paths) });
}

export function showMore(path: string): void {
  const known = directories.value[path];
  if (known) put(path, { ...known, shown: known.shown + PAGE });
}

export function entryOf(path: string): files.Entry | null {
  const siblings = directories.value[parent(path)]?.entries ?? [];
  return siblings.find((entry) => entry.name === baseName(path)) ?? null;
}

/** The directory that a new entry goes into. */
export function targetDirectory(): string {
  const entry = entryOf(selected.value);
  if (entry?.type === "directory") return selected.value;
  return parent(selected.value);
}

export function startDraft(kind: "file" | "directory", directory = targetDirectory()): void {
  if (directory !== "") expand(directory);
  draft.value = { kind, directory };
}

/** Carry out what was typed; returns the path of a file that should be opened. */
export async function finishDraft(name: string): Promise<string | null> {
  const now = draft.value;
  draft.value = null;
  if (!now) return null;
  if (now.kind === "rename") {
    await rename(now.path, join(parent(now.path), name));
    return null;
  }
  const path = join(now.directory, name);
  try {
    if (now.kind === "directory") await files.makeDirectory(path);
    else await files.save(path, new Blob([]), "new");
  } catch (error) {
    if (files.isConflict(error)) say(`“${path}” is there already.`, "bad");
    else sayFailure(`“${path}” cannot be made`, error);
    return null;
  }
  await load(now.directory);
  if (now.kind === "directory") expand(path);
  selected.value = path;
  return now.kind === "file" ? path : null;
}

/** True if something can be moved into a directory: not where it is, and no folder into itself. */
export function canMove(source: string, directory: string): boolean {
  return source !== "" && parent(source) !== directory && !isWithin(directory, source);
}

/** Move what can be moved there into a directory. */
export async function moveAllInto(sources: string[], directory: string): Promise<void> {
  for (const source of sources) {
    if (canMove(source, directory)) await rename(source, join(directory, baseName(source)));
  }
}

export async function rename(source: string, target: string): Promise<void> {
  if (source === target) return;
  try {
    await files.move(source, target);
  } catch (error) {
    if (files.isConflict(error)) say(`“${target}” is there already.`, "bad");
    else sayFailure(`“${baseName(source)}” cannot be moved`, error);
    return;
  }
  setExpanded([...expanded.value].map((path) => moved(path, source, target)));
  directories.value = Object.fromEntries(
    Object.entries(directories.value).map(([path, known]) => [moved(path, source, target), known]),
  );
  if (isWithin(selected.value, source)) selected.value = moved(selected.value, source, target);
  onMoved.emit(source, target);
  // Folders on the way may have been made.
  const above = outer(target).filter((path) => expanded.value.has(path));
  for (const path of new Set([parent(source), ...above, parent(target)])) await load(path);
}

/** Ask, then delete. */
export async function removeEntries(paths: string[]): Promise<void> {
  const [path] = paths;
  if (path === undefined) return;
  const folders = paths.some((each) => entryOf(each)?.type === "directory");
  const question = paths.length === 1 ? `Delete “${baseName(path)}”?` : `Delete ${paths.length} entries?`;
  const text =
    paths.length > 1
      ? `${paths.map(baseName).slice(0, MAX_NAMED).join(", ")}${paths.length > MAX_NAMED ? ", …" : ""}${folders ? ", with everything in folders" : ""}.`
      : folders
        ? "The folder and everything in it are deleted."
        : "The file is deleted.";
  if (!(await confirm(question, text, "Delete"))) return;
  for (const each of paths) if (!(await removeOne(each, entryOf(each)?.type === "directory"))) return;
}

async function removeOne(path: string, directory: boolean): Promise<boolean> {
  try {
    await files.remove(path, directory);
  } catch (error) {
    sayFailure(`“${baseName(path)}” cannot be deleted`, error);
    return false;
  }
  collapse(path);
  selected.value = parent(path);
  onRemoved.emit(path);
  await load(parent(path));
  return true;
}

function put(path: string, directory: Directory): void {
  directories.value = { ...directories.value, [path]: directory };
}

function isShown(path: string): boolean {
  for (let above = parent(path); above !== ""; above = parent(above)) {
    if (!expanded.value.has(above)) return false;
  }
  return true;
}

function collect(path: string, level: number, into: Row[]): void {
  const known = directories.value[path];
  if (!known) return;
  if (known.error && path !== "") into.push({ kind: "note", path, level, text: known.error });
  for (const entry of known.entries.slice(0, known.shown)) {
    const below = join(path, entry.name);
    const open = entry.type === "directory" && expanded.value.has(below);
    const busy = open && (directories.value[below]?.loading ?? true);
    into.push({ kind: "entry", path: below, entry, level, open, busy });
    if (open) collect(below, level + 1, into);
  }
  const hidden = known.entries.length - known.shown;
  if (hidden > 0) into.push({ kind: "more", path, level, hidden });
  else if (known.truncated) {
    into.push({ kind: "note", path, level, text: `Only ${known.entries.length.toLocaleString()} entries are listed: there are more` });
  }
}
