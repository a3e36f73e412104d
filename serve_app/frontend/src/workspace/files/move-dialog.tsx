/** Moving by keyboard what others drag: the new path is typed. */

import { signal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { FormDialog, Problem } from "../../ui/form-dialog";
import { isConflict, makeDirectory } from "./files";
import { baseName, isWithin, join, nameProblem, parent, shown } from "./paths";
import { entryOf, rename, rows } from "./tree-store";

const open = signal<string[] | null>(null);

export function askWhereTo(paths: string[]): void {
  open.value = paths;
}

export function MoveDialog() {
  const paths = open.value;
  if (paths === null) return null;
  return <Move key={paths} paths={paths} onClose={() => (open.value = null)} />;
}

function Move({ paths, onClose }: { paths: string[]; onClose: () => void }) {
  const single = paths.length === 1 ? paths[0]! : null;
  const folders = useMemo(
    () => rows.value.flatMap((row) => (row.kind === "entry" && row.entry.type === "directory" ? [row.path] : [])),
    [],
  );
  const send = async ({ target = "" }: Record<string, string>) => {
    const into = target.replace(/\/+$/, "");
    const top = into === "" || into === ".";
    // A folder that is there is where it goes; for one entry everything else is its new path.
    const folder = top || single === null || (into !== single && entryOf(into)?.type === "directory");
    const nexts = paths.map((path) => (folder ? join(top ? "" : into, baseName(path)) : into));
    for (const [index, next] of nexts.entries()) {
      const wrong = nameProblem(next);
      if (wrong) throw new Problem(wrong);
      if (next !== paths[index] && isWithin(next, paths[index]!)) {
        throw new Problem("A folder cannot be moved into itself.");
      }
    }
    if (nexts.some((next) => entryOf(next) === null)) await makeParent(nexts[0]!);
    for (const [index, next] of nexts.entries()) await rename(paths[index]!, next);
  };
  return (
    <FormDialog title={single === null ? `Move ${paths.length} entries` : `Move ${shown(single)}`} action="Move" testId="move" onClose={onClose} send={send}>
      <label class="field">
        <span>{single === null ? "Folder" : "New path, or a folder"}</span>
        <input
          class="input"
          name="target"
          list="move-folders"
          defaultValue={single ?? parent(paths[0]!)}
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
