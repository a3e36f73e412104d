/** What can be done with a line of the tree. */

import type { MenuEntries } from "../../ui/menu";
import { sayFailure } from "../../ui/toasts";
import { openFile } from "../editor/editors";
import { drawerOpen, narrowPane } from "../layout";
import { download, downloadArchive } from "./files";
import { openHistory } from "./history";
import { askWhereTo } from "./move-dialog";
import { parent } from "./paths";
import { choose, chosenWith } from "./selection";
import { collapse, draft, entryOf, expand, removeEntries, rows, startDraft } from "./tree-store";
import { pickFiles } from "./uploads";

/** Answer a click or Enter; the latter goes on in the editor. */
export function act(path: string, focus = false): void {
  choose(path, "only");
  const row = rows.value.find((each) => each.kind === "entry" && each.path === path);
  if (row?.kind !== "entry") return;
  if (row.entry.type === "directory") {
    if (focus) return; // the clicks before have done it
    if (row.open) collapse(path);
    else expand(path);
    return;
  }
  drawerOpen.value = false;
  narrowPane.value = "editor";
  void openFile(path, focus);
}

export function saveArchive(path: string): void {
  downloadArchive(path).catch((error) => sayFailure("The download failed", error));
}

export function actions(path: string): MenuEntries {
  const entry = entryOf(path);
  const directory = path === "" || entry?.type === "directory";
  const here = directory ? path : parent(path);
  const making: MenuEntries = [
    { label: "New file", run: () => startDraft("file", here) },
    { label: "New folder", run: () => startDraft("directory", here) },
    { label: "Upload files…", run: () => pickFiles(here, false) },
    { label: "Upload a folder…", run: () => pickFiles(here, true) },
  ];
  const archive: MenuEntries = [
    {
      label: path === "" ? "Download everything as .tar" : "Download as .tar",
      run: () => saveArchive(path),
    },
  ];
  if (!entry) return [...making, "separator", ...archive];
  const several = chosenWith(path);
  if (several.length > 1) {
    return [
      { label: `Move ${several.length} entries…`, run: () => askWhereTo(several) },
      { label: `Delete ${several.length} entries…`, hint: "Del", danger: true, run: () => void removeEntries(several) },
    ];
  }
  const own: MenuEntries = [
    "separator",
    {
      label: "Rename",
      hint: "F2",
      run: () => {
        draft.value = { kind: "rename", path };
      },
    },
    { label: "Move…", run: () => askWhereTo([path]) },
    {
      label: "Copy path",
      run: () => void navigator.clipboard?.writeText(path).catch(() => undefined),
    },
    { label: "Delete…", hint: "Del", danger: true, run: () => void removeEntries([path]) },
  ];
  if (directory) return [...making, "separator", ...archive, ...own];
  return [
    { label: "Open", run: () => act(path) },
    {
      label: "Download",
      run: () => void download(path).catch((error) => sayFailure("The download failed", error)),
    },
    { label: "Versions…", run: () => openHistory(path) },
    ...making,
    ...own,
  ];
}
