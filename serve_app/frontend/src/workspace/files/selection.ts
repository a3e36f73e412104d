/** The entries of the tree that are chosen together, beside the one that has the focus. */

import { signal } from "@preact/signals";
import { topmost } from "./paths";
import { rows, selected } from "./tree-store";

/** More than one entry, or none: then it is the selected one alone. */
export const chosen = signal<ReadonlySet<string>>(new Set());
/** The one that was chosen alone at last: a click has moved the focus before it chooses. */
let anchor = "";

export function isChosen(path: string): boolean {
  return chosen.value.size > 0 ? chosen.value.has(path) : selected.value === path;
}

/** Choose one entry alone, one more or one less, or all from the last one to it. */
export function choose(path: string, how: "only" | "toggle" | "range"): void {
  if (how === "only") {
    chosen.value = new Set();
    anchor = path;
  } else if (how === "toggle") {
    const next = new Set(chosen.value.size > 0 ? chosen.value : [anchor].filter(Boolean));
    if (!next.delete(path)) next.add(path);
    chosen.value = next.size > 1 ? next : new Set();
    anchor = path;
    if (next.size === 1) path = [...next][0]!;
  } else {
    const paths = rows.value.flatMap((row) => (row.kind === "entry" ? [row.path] : []));
    const [from, to] = [paths.indexOf(anchor), paths.indexOf(path)].sort((a, b) => a - b);
    const range = paths.slice(Math.max(from!, 0), to! + 1);
    chosen.value = range.length > 1 ? new Set(range) : new Set();
  }
  selected.value = path;
}

/** The entries that an action at `path` is for; what lies within another of them comes with it. */
export function chosenWith(path: string): string[] {
  return chosen.value.has(path) ? topmost(chosen.value) : [path];
}
