import { useEffect, useRef, useState } from "preact/hooks";
import { formatBytes } from "../../lib/format";
import { Icon, type IconName } from "../../ui/icons";
import { Menu, MenuButton } from "../../ui/menu";
import { sayFailure } from "../../ui/toasts";
import { activeFile } from "./tabs";
import { NameInput } from "./name-input";
import { showSearch } from "../shortcuts";
import { parent, shown } from "./paths";
import { choose, chosenWith, isChosen } from "./selection";
import { act, actions, saveArchive } from "./tree-actions";
import { onTreeKey } from "./tree-keys";
import {
  canMove,
  draft,
  entryOf,
  expand,
  load,
  moveAllInto,
  refresh,
  type Row,
  rows,
  selected,
  showMore,
  startDraft,
  targetDirectory,
  treeError,
  treeLoading,
} from "./tree-store";
import { pickFiles, uploadDropped, uploading } from "./uploads";
import "./tree.css";

const DRAGGED_TYPE = "application/x-coditect-path";
const HOLD_MILLISECONDS = 700;

export function TreePanel() {
  const progress = uploading.value;
  return (
    <section class="tree-panel" aria-label="Files">
      <header class="panel-bar">
        <h2>Files</h2>
        <TreeButton icon="newFile" label="New file" run={() => startDraft("file")} />
        <TreeButton icon="newFolder" label="New folder" run={() => startDraft("directory")} />
        <MenuButton
          label="Upload"
          class="icon-button small"
          entries={() => [
            { label: "Files…", run: () => pickFiles(targetDirectory(), false) },
            { label: "A folder…", run: () => pickFiles(targetDirectory(), true) },
          ]}
        >
          <Icon name="upload" />
        </MenuButton>
        <TreeButton
          icon="download"
          label="Download everything as .tar"
          run={() => saveArchive("")}
        />
        <TreeButton icon="search" label="Search in files" run={showSearch} />
        <TreeButton icon="refresh" label="Refresh" run={() => void refresh()} />
      </header>
      <Tree />
      {progress && (
        <div class="tree-progress" role="status">
          <progress max={progress.all} value={progress.done} />
          {progress.what === "files"
            ? `${progress.done} of ${progress.all}`
            : `${formatBytes(progress.done)} of ${formatBytes(progress.all)}`}
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
  const select = (path: string, range: boolean) => {
    choose(path, range ? "range" : "only");
    requestAnimationFrame(() => itemOf(list.current, path)?.focus());
  };
  const showMenu = (path: string, x: number, y: number) => {
    if (!isChosen(path)) choose(path, "only");
    setMenu({ x, y, path });
  };
  return (
    <div
      ref={list}
      class={`tree ${dropInto === "" ? "dropping" : ""}`}
      role="tree"
      aria-multiselectable="true"
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
        aria-selected={isChosen(path)}
        aria-busy={row.busy}
        tabIndex={tabbable ? 0 : -1}
        data-path={path}
        title={titleOf(row)}
        draggable
        onDragStart={(event) => {
          dragged = chosenWith(path);
          event.dataTransfer?.setData(DRAGGED_TYPE, path);
          if (event.dataTransfer) event.dataTransfer.effectAllowed = "move";
        }}
        onClick={(event) => {
          if (event.shiftKey) choose(path, "range");
          else if (event.ctrlKey || event.metaKey) choose(path, "toggle");
          else act(path);
        }}
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

/** The paths that are being dragged within the tree: their data can be read only once it is dropped. */
let dragged: string[] | null = null;

function mayDrop(data: DataTransfer | null, directory: string): boolean {
  if (data?.types.includes(DRAGGED_TYPE)) return dragged?.some((path) => canMove(path, directory)) ?? false;
  return data?.types.includes("Files") ?? false;
}

function drop(data: DataTransfer, directory: string): void {
  if (dragged === null) {
    uploadDropped(data, directory).catch((error) => sayFailure("The upload failed", error));
    return;
  }
  void moveAllInto(dragged, directory);
  dragged = null;
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

