import { parent } from "./paths";
import { act } from "./tree-actions";
import { chosenWith } from "./selection";
import { collapse, draft, expand, removeEntries, rows, selected } from "./tree-store";

/** Keys as the ARIA practices have them for trees; letters jump to the next name that begins so. */
export function onTreeKey(
  event: KeyboardEvent,
  select: (path: string, range: boolean) => void,
  showMenu: (path: string, x: number, y: number) => void,
): void {
  if (!(event.target as HTMLElement).matches('[role="treeitem"]')) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const entries = rows.value.flatMap((row) => (row.kind === "entry" ? [row] : []));
  const index = entries.findIndex((row) => row.path === selected.value);
  const row = entries[index];
  if (!row) return;
  const go = (at: number) => {
    const to = entries[Math.min(Math.max(at, 0), entries.length - 1)];
    if (to) select(to.path, event.shiftKey);
  };
  const directory = row.entry.type === "directory";
  switch (event.key) {
    case "ArrowDown":
      go(index + 1);
      break;
    case "ArrowUp":
      go(index - 1);
      break;
    case "Home":
      go(0);
      break;
    case "End":
      go(entries.length - 1);
      break;
    case "ArrowRight":
      if (directory && !row.open) expand(row.path);
      else if (directory && entries[index + 1]?.level === row.level + 1) go(index + 1);
      break;
    case "ArrowLeft":
      if (row.open) collapse(row.path);
      else if (parent(row.path) !== "") select(parent(row.path), false);
      break;
    case "Enter":
    case " ":
      act(row.path, event.key === "Enter" && !directory);
      break;
    case "F2":
      draft.value = { kind: "rename", path: row.path };
      break;
    case "Delete":
      void removeEntries(chosenWith(row.path));
      break;
    case "ContextMenu": {
      const box = (event.target as HTMLElement).getBoundingClientRect();
      showMenu(row.path, box.left + 24, box.bottom);
      break;
    }
    default: {
      if (event.key.length !== 1) return;
      const letter = event.key.toLowerCase();
      const after = [...entries.slice(index + 1), ...entries.slice(0, index + 1)];
      const found = after.find((each) => each.entry.name.toLowerCase().startsWith(letter));
      if (found) select(found.path, false);
    }
  }
  event.preventDefault();
}
