/** What is dropped on the tree or picked from this machine: files a few at a time, folders as one stream. */

import { signal } from "@preact/signals";
import { ask } from "../../ui/dialog";
import { say, sayFailure } from "../../ui/toasts";
import * as files from "./files";
import { join } from "./paths";
import { noteSave } from "../session/session";
import { type Item, tarOf } from "./tar";
import { load } from "./tree-store";

const AT_ONCE = 3;
const MAX_FILES = 20_000;

/** How much is there already, of how much, of `what`. */
export const uploading = signal<{ done: number; all: number; what: "files" | "bytes" } | null>(null);

/** Keep files that are dropped beside the tree from being opened in place of this page. */
export function guardDrops(): void {
  for (const kind of ["dragover", "drop"] as const) {
    addEventListener(kind, (event) => {
      if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "none";
    });
  }
}

/** Upload what was dropped; folders with all they hold. */
export async function uploadDropped(data: DataTransfer, directory: string): Promise<void> {
  // All must be taken before the first await: the list is emptied after the event.
  const dropped = [...data.items].map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  const items: Item[] = [];
  for (const each of dropped) {
    if (each instanceof File) items.push({ path: join(directory, each.name), file: each });
    else if (each) await gather(each, directory, items);
  }
  await upload(items, directory);
}

/** Let the person pick files, or a folder with all it holds, and upload them. */
export function pickFiles(directory: string, folder: boolean): void {
  const picker = document.createElement("input");
  picker.type = "file";
  picker.multiple = true;
  picker.webkitdirectory = folder;
  picker.addEventListener("change", () => {
    const items = [...(picker.files ?? [])].map((file) => ({
      file,
      path: join(directory, file.webkitRelativePath || file.name),
    }));
    upload(items, directory).catch((error) => sayFailure("The upload failed", error));
  });
  picker.click();
}

async function upload(items: Item[], directory: string): Promise<void> {
  if (items.length === 0) return;
  if (items.length > MAX_FILES) {
    say(`At most ${MAX_FILES} files at once. Upload an archive and unpack it instead.`, "bad");
    return;
  }
  const isFolder = items.some((item) => item.file === null || item.path.includes("/", directory.length + 1));
  const sent = isFolder ? await asOneStream(items, directory) : await oneByOne(items);
  await load(directory);
  if (sent > 0) say(`${sent} of ${items.length} uploaded.`);
}

/** Send an archive with all of it; returns how many of it arrived. */
async function asOneStream(items: Item[], directory: string): Promise<number> {
  const inner = items.map(({ path, file }) => ({ path: directory ? path.slice(directory.length + 1) : path, file }));
  const top = (item: Item) => item.path.split("/", 1)[0]!;
  const present = new Set((await files.list(directory)).entries.map((entry) => entry.name));
  const existing = [...new Set(inner.map(top))].filter((name) => present.has(name));
  const replaced = existing.length === 0 || (await mayReplace(existing));
  const wanted = replaced ? inner : inner.filter((item) => !present.has(top(item)));
  if (wanted.length === 0) return 0;
  try {
    uploading.value = { done: 0, all: 1, what: "bytes" };
    const found = await files.unpack(directory, tarOf(wanted), (done, all) => {
      uploading.value = { done, all, what: "bytes" };
    });
    noteSave(null, found.version);
    const [first] = found.failed;
    const others = found.failed.length + found.more_failed - 1;
    if (first) say(`“${first.path}” was not uploaded: ${first.reason}${others > 0 ? ` (and ${others} more)` : ""}`, "bad");
    return found.made;
  } finally {
    uploading.value = null;
  }
}

async function oneByOne(items: Item[]): Promise<number> {
  const existing: Item[] = [];
  const sent = await each(items, "new", existing);
  if (existing.length === 0 || !(await mayReplace(existing.map((item) => item.path)))) return sent;
  return sent + (await each(existing, null, []));
}

/** Send files, a few at once; returns how many arrived. Those that were there go to `existing`. */
async function each(items: Item[], match: "new" | null, existing: Item[]): Promise<number> {
  const waiting = [...items];
  let arrived = 0;
  uploading.value = { done: 0, all: items.length, what: "files" };
  const worker = async () => {
    for (let item = waiting.shift(); item; item = waiting.shift()) {
      try {
        const receipt = await files.save(item.path, item.file!, match);
        noteSave(receipt.path, receipt.version);
        arrived += 1;
      } catch (error) {
        if (match === "new" && files.isConflict(error)) existing.push(item);
        else sayFailure(`“${item.path}” was not uploaded`, error);
      }
      uploading.value = { done: items.length - waiting.length, all: items.length, what: "files" };
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  uploading.value = null;
  return arrived;
}

async function mayReplace(existing: string[]): Promise<boolean> {
  const names = existing.slice(0, 5);
  const more = existing.length > 5 ? ` and ${existing.length - 5} more` : "";
  const answer = await ask("Replace files?", `${names.join(", ")}${more}: there already. What is in folders stays, but for files of the same path.`, [
    { value: "yes", label: "Replace", kind: "danger" },
  ]);
  return answer === "yes";
}

async function gather(entry: FileSystemEntry, directory: string, into: Item[]): Promise<void> {
  if (into.length > MAX_FILES) return;
  const path = join(directory, entry.name);
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) =>
      (entry as FileSystemFileEntry).file(resolve, reject),
    );
    into.push({ path, file });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const before = into.length;
  for (;;) {
    const batch = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (batch.length === 0) {
      if (into.length === before) into.push({ path, file: null });
      return;
    }
    for (const below of batch) await gather(below, path, into);
  }
}
