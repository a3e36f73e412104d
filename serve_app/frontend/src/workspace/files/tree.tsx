import { useEffect, useRef, useState } from "preact/hooks";
import { formatBytes } from "../../lib/format";
import { Icon, type IconName } from "../../ui/icons";
import { Menu, type MenuEntries } from "../../ui/menu";
import { sayFailure } from "../../ui/toasts";
import { openFile } from "../editor/editors";
import { activeFile } from "./tabs";
import { download, downloadArchive } from "./files";
import { openHistory } from "./history";
import { drawerOpen, narrowPane } from "../layout";
import { NameInput } from "./name-input";
import { parent, shown } from "./paths";
import {
  canMove,
  collapse,
  draft,
  entryOf,
  expand,
  load,
  moveInto,
  refresh,
  removeEntry,
  type Row,
  rows,
  selected,
  showMore,
  startDraft,
  targetDirectory,
  treeError,
  treeLoading,
} from "./tree-store";
import { uploadDropped, uploading, uploadPicked } from "./uploads";
import "./tree.css";

const DRAGGED_TYPE = "application/x-coditect-path";
const HOLD_MILLISECONDS = 700;

export function TreePanel() {
  const picker = useRef<HTMLInputElement>(null);
  const progress = uploading.value;
  return (
    <section class="tree-panel" aria-label="Files">
      <header class="panel-bar">
        <h2>Files</h2>
        <TreeButton icon="newFile" label="New file" run={() => startDraft("file")} />
        <TreeButton icon="newFolder" label="New folder" run={() => startDraft("directory")} />
        <TreeButton icon="upload" label="Upload files" run={() => picker.current?.click()} />
        <TreeButton
          icon="download"
          label="Download everything as .tar"
          run={() => saveArchive("")}
        />
        <TreeButton icon="refresh" label="Refresh" run={() => void refresh()} />
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          onChange={(event) => {
            const list = event.currentTarget.files;
            if (list) void uploadPicked(list, targetDirectory());
            event.currentTarget.value = "";
          }}
        />
      </header>
      <Tree />
      {progress && (
        <div class="tree-progress" role="status">
          <progress max={progress.all} value={progress.done} />
          {progress.done} of {progress.all}
        </div>
      )}
    </section>
  );
}

function TreeButton(props: { icon: IconName; label: string; run: () => void }) {
  return (
    <button
      type="button"
      class="icon-button small"
      aria-label={props.label}
      title={props.label}
      onClick={props.run}
    >
      <Icon name={props.icon} />
    </button>
  );
}

function Tree() {
  const list = useRef<HTMLDivElement>(null);
  const [menu, setMenu] = useState<{ x: number; y: number; path: string } | null>(null);
  const [dropInto, setDropInto] = useState<string | null>(null);
  const all = rows.value;
  const known = all.some((row) => row.kind === "entry" && row.path === selected.value);
  const first = all.find((row) => row.kind === "entry")?.path;

  // A folder over which something is held opens, so that one can go on into it.
  useEffect(() => {
    if (dropInto === null || dropInto === "") return;
    const timer = setTimeout(() => expand(dropInto), HOLD_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [dropInto]);
  const hover = (directory: string | null) => {
    if (directory !== dropInto) setDropInto(directory);
  };
  const select = (path: string) => {
    selected.value = path;
    requestAnimationFrame(() => itemOf(list.current, path)?.focus());
  };
  const showMenu = (path: string, x: number, y: number) => {
    selected.value = path;
    setMenu({ x, y, path });
  };
  return (
    <div
      ref={list}
      class={`tree ${dropInto === "" ? "dropping" : ""}`}
      role="tree"
      aria-label="Workspace files"
      data-testid="tree"
      onKeyDown={(event) => onTreeKey(event, select, showMenu)}
      onContextMenu={(event) => {
        event.preventDefault();
        showMenu(pathAt(event.target) ?? "", event.clientX, event.clientY);
      }}
      onDragOver={(event) => {
        const into = directoryAt(event.target);
        const takes = mayDrop(event.dataTransfer, into);
        hover(takes ? into : null);
        if (!takes) return;
        event.preventDefault();
        event.dataTransfer!.dropEffect = dragged === null ? "copy" : "move";
      }}
      onDragLeave={(event) => {
        if (!list.current?.contains(event.relatedTarget as Node)) hover(null);
      }}
      onDragEnd={() => {
        dragged = null;
        hover(null);
      }}
      onDrop={(event) => {
        hover(null);
        const into = directoryAt(event.target);
        if (!mayDrop(event.dataTransfer, into)) return;
        event.preventDefault();
        drop(event.dataTransfer!, into);
      }}
    >
      <NewEntry directory="" level={1} />
      {all.map((row) => (
        <TreeRow
          key={`${row.kind}:${row.path}`}
          row={row}
          tabbable={known ? row.path === selected.value : row.path === first}
          dropping={dropInto !== null && dropInto === row.path}
          onMenu={showMenu}
        />
      ))}
      {all.length === 0 && !draft.value && <TreeEmpty />}
      {menu && (
        <Menu
          label="File actions"
          at={menu}
          entries={actions(menu.path)}
          onClose={() => setMenu(null)}
        />
      )}
    </div>
  );
}

function TreeEmpty() {
  if (treeError.value) {
    return (
      <p class="tree-hint">
        {treeError.value}{" "}
        <button type="button" class="button small" onClick={() => void load("")}>
          Try again
        </button>
      </p>
    );
  }
  if (treeLoading.value) return <p class="tree-hint">Reading…</p>;
  return <p class="tree-hint">Nothing here yet. Make a file, or drop some here.</p>;
}

interface TreeRowProps {
  row: Row;
  tabbable: boolean;
  dropping: boolean;
  onMenu: (path: string, x: number, y: number) => void;
}

function TreeRow({ row, tabbable, dropping, onMenu }: TreeRowProps) {
  const indent = { paddingLeft: `${8 + (row.level - 1) * 14}px` };
  if (row.kind === "note") {
    return (
      <p class="tree-hint" style={indent}>
        {row.text}
      </p>
    );
  }
  if (row.kind === "more") {
    return (
      <button type="button" class="tree-more" style={indent} onClick={() => showMore(row.path)}>
        {row.hidden} more…
      </button>
    );
  }
  const { entry, path } = row;
  const now = draft.value;
  if (now?.kind === "rename" && now.path === path) {
    return <NameInput now={now} initial={entry.name} style={indent} />;
  }
  const directory = entry.type === "directory";
  const active = activeFile.value?.path.value === path;
  return (
    <>
      <div
        role="treeitem"
        class={`tree-item ${active ? "active" : ""} ${dropping ? "dropping" : ""}`}
        style={indent}
        aria-level={row.level}
        aria-expanded={directory ? row.open : undefined}
        aria-selected={selected.value === path}
        aria-busy={row.busy}
        tabIndex={tabbable ? 0 : -1}
        data-path={path}
        title={titleOf(row)}
        draggable
        onDragStart={(event) => {
          dragged = path;
          event.dataTransfer?.setData(DRAGGED_TYPE, path);
          if (event.dataTransfer) event.dataTransfer.effectAllowed = "move";
        }}
        onClick={() => act(path)}
        onDblClick={() => act(path, true)}
        onFocus={() => {
          selected.value = path;
        }}
      >
        <span class={`tree-twist ${row.open ? "open" : ""}`}>
          {directory && <Icon name="chevron" />}
        </span>
        <Icon name={directory ? "folder" : entry.type === "link" ? "link" : "file"} />
        <span class="tree-name">{shown(entry.name)}</span>
        <button
          type="button"
          class="icon-button small tree-actions"
          tabIndex={-1}
          aria-label={`Actions for ${entry.name}`}
          onClick={(event) => {
            event.stopPropagation();
            const box = event.currentTarget.getBoundingClientRect();
            onMenu(path, box.left, box.bottom);
          }}
        >
          <Icon name="more" />
        </button>
      </div>
      {row.open && <NewEntry directory={path} level={row.level + 1} />}
    </>
  );
}

function NewEntry({ directory, level }: { directory: string; level: number }) {
  const now = draft.value;
  if (!now || now.kind === "rename" || now.directory !== directory) return null;
  return <NameInput now={now} initial="" style={{ paddingLeft: `${8 + (level - 1) * 14}px` }} />;
}

/** The path that is being dragged within the tree: its data can be read only once it is dropped. */
let dragged: string | null = null;

function mayDrop(data: DataTransfer | null, directory: string): boolean {
  if (data?.types.includes(DRAGGED_TYPE)) return dragged !== null && canMove(dragged, directory);
  return data?.types.includes("Files") ?? false;
}

function drop(data: DataTransfer, directory: string): void {
  if (dragged === null) {
    uploadDropped(data, directory).catch((error) => sayFailure("The upload failed", error));
    return;
  }
  void moveInto(dragged, directory);
  dragged = null;
}

/** Answer a click or Enter; the latter goes on in the editor. */
function act(path: string, focus = false): void {
  selected.value = path;
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

function saveArchive(path: string): void {
  downloadArchive(path).catch((error) => sayFailure("The download failed", error));
}

function actions(path: string): MenuEntries {
  const entry = entryOf(path);
  const directory = path === "" || entry?.type === "directory";
  const here = directory ? path : parent(path);
  const making: MenuEntries = [
    { label: "New file", run: () => startDraft("file", here) },
    { label: "New folder", run: () => startDraft("directory", here) },
  ];
  const archive: MenuEntries = [
    {
      label: "Download as .tar",
      run: () => saveArchive(path),
    },
  ];
  if (!entry) return [...making, "separator", ...archive];
  const own: MenuEntries = [
    "separator",
    {
      label: "Rename",
      hint: "F2",
      run: () => {
        draft.value = { kind: "rename", path };
      },
    },
    {
      label: "Copy path",
      run: () => void navigator.clipboard?.writeText(path).catch(() => undefined),
    },
    { label: "Delete…", hint: "Del", danger: true, run: () => void removeEntry(path) },
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

/** Keys as the ARIA practices have them for trees; letters jump to the next name that begins so. */
function onTreeKey(
  event: KeyboardEvent,
  select: (path: string) => void,
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
    if (to) select(to.path);
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
      else if (parent(row.path) !== "") select(parent(row.path));
      break;
    case "Enter":
    case " ":
      act(row.path, event.key === "Enter" && !directory);
      break;
    case "F2":
      draft.value = { kind: "rename", path: row.path };
      break;
    case "Delete":
      void removeEntry(row.path);
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
      if (found) select(found.path);
    }
  }
  event.preventDefault();
}

function titleOf(row: Row & { kind: "entry" }): string {
  const { entry } = row;
  if (entry.type === "link") return `${row.path} → ${entry.target ?? "?"}`;
  if (entry.type === "directory") return row.path;
  return `${row.path} · ${formatBytes(entry.size)} · ${new Date(entry.mtime * 1000).toLocaleString()}`;
}

function itemOf(list: HTMLElement | null, path: string): HTMLElement | null {
  return list?.querySelector<HTMLElement>(`[data-path="${CSS.escape(path)}"]`) ?? null;
}

function pathAt(target: EventTarget | null): string | null {
  return (target as HTMLElement).closest<HTMLElement>("[data-path]")?.dataset["path"] ?? null;
}

function directoryAt(target: EventTarget | null): string {
  const path = pathAt(target);
  if (path === null) return "";
  return entryOf(path)?.type === "directory" ? path : parent(path);
}

