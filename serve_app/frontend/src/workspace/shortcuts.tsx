import { signal } from "@preact/signals";
import { changeFontSize } from "../lib/preferences";
import { Dialog } from "../ui/dialog";
import { closeFile, saveFile, showNextFile, togglePreview } from "./editor/editors";
import { activeFile } from "./files/tabs";
import { arrange, drawerOpen, layout, narrow, narrowPane, toggleTree } from "./layout";
import { activateNext, activeTab, close, openNew, searchOpen, split } from "./terminals/terminals";
import { askForSearch, openQuickly, sidePanel } from "./search/open";
import "./shortcuts.css";

export const shortcutsOpen = signal(false);

interface Shortcut {
  keys: string;
  what: string;
  matches: (event: KeyboardEvent) => boolean;
  run: () => void;
}

const control = (code: string, shift: boolean) => (event: KeyboardEvent) =>
  (event.ctrlKey || event.metaKey) && event.shiftKey === shift && !event.altKey && event.code === code;
const alt = (code: string, shift = false) => (event: KeyboardEvent) =>
  event.altKey && event.shiftKey === shift && !event.ctrlKey && !event.metaKey && event.code === code;

const inEditor = () => document.activeElement?.closest(".editor-pane") != null;
const inTerminal = () => document.activeElement?.closest(".terminal-panel") != null;

const SHORTCUTS: Shortcut[] = [
  {
    keys: "Ctrl+Shift+E",
    what: "Files: show and go there, or hide",
    matches: control("KeyE", true),
    run: goToTree,
  },
  { keys: "Ctrl+`", what: "Go between editor and terminal", matches: control("Backquote", false), run: switchPane },
  { keys: "Ctrl+Shift+`", what: "New terminal", matches: control("Backquote", true), run: openNew },
  {
    keys: "Ctrl+Shift+5",
    what: "New terminal beside this one",
    matches: control("Digit5", true),
    run: () => split("columns"),
  },
  {
    keys: "Ctrl+Shift+'",
    what: "New terminal below this one",
    matches: control("Quote", true),
    run: () => split("rows"),
  },
  { keys: "Alt+Page Down", what: "Next tab", matches: alt("PageDown"), run: () => nextTab(1) },
  { keys: "Alt+Page Up", what: "Previous tab", matches: alt("PageUp"), run: () => nextTab(-1) },
  { keys: "Alt+Shift+W", what: "Close tab", matches: alt("KeyW", true), run: closeTab },
  {
    keys: "Ctrl+S",
    what: "Save the file",
    matches: (event) => control("KeyS", false)(event) && !inTerminal(),
    run: () => activeFile.value && void saveFile(activeFile.value),
  },
  {
    keys: "Ctrl+Shift+V",
    what: "In the editor: preview, or the text",
    matches: (event) => control("KeyV", true)(event) && inEditor(),
    run: () => activeFile.value && togglePreview(activeFile.value),
  },
  {
    keys: "Ctrl+P",
    what: "Open a file by letters of its path",
    matches: (event) => control("KeyP", false)(event) && !inTerminal(),
    run: openQuickly,
  },
  {
    keys: "Ctrl+Shift+P",
    what: "The same, from the terminal too",
    matches: control("KeyP", true),
    run: openQuickly,
  },
  {
    keys: "Ctrl+Shift+F",
    what: "Search in all files; in the terminal: in what it shows",
    matches: control("KeyF", true),
    run: () => {
      if (inTerminal()) searchOpen.value = true;
      else showSearch();
    },
  },
  {
    keys: "Ctrl+Shift+C",
    what: "Copy from the terminal",
    matches: (event) => control("KeyC", true)(event) && inTerminal(),
    run: () => void copy(),
  },
  {
    keys: "Ctrl+Shift+V",
    what: "Paste into the terminal",
    // Without leave to read the clipboard the browser's own paste does it.
    matches: (event) =>
      control("KeyV", true)(event) && inTerminal() && navigator.clipboard?.readText !== undefined,
    run: () => void paste(),
  },
  {
    keys: "Ctrl+Shift+.",
    what: "Larger text",
    matches: control("Period", true),
    run: () => changeFontSize(1),
  },
  {
    keys: "Ctrl+Shift+,",
    what: "Smaller text",
    matches: control("Comma", true),
    run: () => changeFontSize(-1),
  },
  {
    keys: "Ctrl+Shift+H",
    what: "This list",
    matches: control("KeyH", true),
    run: () => {
      shortcutsOpen.value = true;
    },
  },
];

const EDITOR_KEYS: [string, string][] = [
  ["Ctrl+F", "Find"],
  ["Ctrl+H", "Find and replace"],
  ["Ctrl+Z", "Undo"],
  ["Ctrl+/", "Comment lines in or out"],
];

const TREE_KEYS: [string, string][] = [
  ["↑ ↓ ← →", "Move, open and close folders"],
  ["Enter", "Open"],
  ["F2", "Rename (files and terminals)"],
  ["Shift+↑ ↓", "Choose several files; with the mouse: Shift or Ctrl and a click"],
  ["Delete", "Delete files, close a tab"],
  ["Menu", "All actions"],
];

/** Listen before the terminal does, which would send these keys to the shell. */
export function installShortcuts(): void {
  addEventListener(
    "keydown",
    (event) => {
      if (document.querySelector("dialog[open]")) return;
      const shortcut = SHORTCUTS.find((each) => each.matches(event));
      if (!shortcut) return;
      event.preventDefault();
      event.stopPropagation();
      shortcut.run();
    },
    true,
  );
}

export function ShortcutsDialog() {
  if (!shortcutsOpen.value) return null;
  const close = () => {
    shortcutsOpen.value = false;
  };
  return (
    <Dialog title="Keyboard shortcuts" size="wide" onClose={close}>
      <div class="shortcuts">
        <ShortcutList name="Everywhere" pairs={SHORTCUTS.map((each) => [each.keys, each.what])} />
        <ShortcutList name="In the editor" pairs={EDITOR_KEYS} />
        <ShortcutList name="In the file tree and in tabs" pairs={TREE_KEYS} />
        <p class="dialog-text">
          <a href="/static/third-party-notices.txt">Licences of what this page is made of</a>
        </p>
      </div>
    </Dialog>
  );
}

function ShortcutList({ name, pairs }: { name: string; pairs: [string, string][] }) {
  return (
    <section>
      <h3>{name}</h3>
      <dl>
        {pairs.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

/** Show the search in place of the tree. */
export function showSearch(): void {
  askForSearch();
  if (narrow.value) drawerOpen.value = true;
  else arrange({ treeOpen: true });
}

function goToTree(): void {
  if (sidePanel.value === "search") {
    sidePanel.value = "files";
    if (!layout.value.treeOpen) toggleTree();
    return;
  }

  const inTree = document.activeElement?.closest(".tree-panel") != null;
  const shown = narrow.value ? drawerOpen.value : layout.value.treeOpen;
  if (!shown || inTree) toggleTree();
  if (inTree) {
    activeTab.value?.view.focus();
    return;
  }
  requestAnimationFrame(() =>
    document.querySelector<HTMLElement>('.tree [role="treeitem"][tabindex="0"]')?.focus(),
  );
}

function switchPane(): void {
  const state = activeFile.value?.state.value;
  if (inEditor() || state?.is !== "open") {
    narrowPane.value = "terminal";
    activeTab.value?.view.focus();
    return;
  }
  narrowPane.value = "editor";
  requestAnimationFrame(() => state.code.focus());
}

function nextTab(step: number): void {
  if (inEditor()) showNextFile(step);
  else activateNext(step);
}

function closeTab(): void {
  if (inEditor() && activeFile.value) void closeFile(activeFile.value);
  else if (activeTab.value) void close(activeTab.value.name);
}

async function copy(): Promise<void> {
  const text = activeTab.value?.view.selection;
  if (!text) return;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Plain HTTP has no clipboard; the old command works on the terminal's own selection.
    document.execCommand("copy");
  }
}

async function paste(): Promise<void> {
  try {
    activeTab.value?.view.paste(await navigator.clipboard.readText());
  } catch {
    // The person said no.
  }
}
