/** Moving by keyboard what others drag: the new path is typed. */

import { signal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { FormDialog, Problem } from "../../ui/form-dialog";
import { isConflict, makeDirectory } from "./files";
import { baseName, isWithin, join, nameProblem, parent, shown } from "./paths";
import { entryOf, rename, rows } from "./tree-store";

const open = signal<string | null>(null);

export function askWhereTo(path: string): void {
  open.value = path;
}

export function MoveDialog() {
  const path = open.value;
  if (path === null) return null;
  return <Move key={path} path={path} onClose={() => (open.value = null)} />;
}

function Move({ path, onClose }: { path: string; onClose: () => void }) {
  const folders = useMemo(
    () => rows.value.flatMap((row) => (row.kind === "entry" && row.entry.type === "directory" ? [row.path] : [])),
    [path],
  );
  const send = async ({ target = "" }: Record<string, string>) => {
    // A folder that is there is where it goes; everything else is its new path.
    const into = target.replace(/\/+$/, "");
    const top = into === "" || into === ".";
    const folder = top || (into !== path && entryOf(into)?.type === "directory");
    const next = folder ? join(top ? "" : into, baseName(path)) : into;
    const wrong = nameProblem(next);
    if (wrong) throw new Problem(wrong);
    if (next !== path && isWithin(next, path)) throw new Problem("A folder cannot be moved into itself.");
    if (entryOf(next) === null) await makeParent(next);
    await rename(path, next);
  };
  return (
    <FormDialog title={`Move ${shown(path)}`} action="Move" testId="move" onClose={onClose} send={send}>
      <label class="field">
        <span>New path, or a folder</span>
        <input
          class="input"
          name="target"
          list="move-folders"
          defaultValue={path}
          autofocus
          spellcheck={false}
          autocomplete="off"
          autocapitalize="off"
          onFocus={(event) => event.currentTarget.select()}
        />
        <datalist id="move-folders">
          {folders.map((folder) => (
            <option key={folder} value={`${folder}/`} />
          ))}
        </datalist>
      </label>
      <p class="dialog-text">“.” is the workspace itself. Folders that are not there yet are made.</p>
    </FormDialog>
  );
}

async function makeParent(path: string): Promise<void> {
  const above = parent(path);
  if (above === "" || entryOf(above) !== null) return;
  try {
    await makeDirectory(above);
  } catch (error) {
    if (!isConflict(error)) throw error; // it is there: the tree has not read it
  }
}
