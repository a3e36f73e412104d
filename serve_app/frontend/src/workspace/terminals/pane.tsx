import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Dialog } from "../../ui/dialog";
import { Icon } from "../../ui/icons";
import { KeyBar } from "./key-bar";
import { narrow } from "../layout";
import {
  activate,
  activeName,
  activeTab,
  close,
  openNew,
  rename,
  searchOpen,
  startTab,
  tabs,
  type TerminalTab,
  titleOf,
} from "./terminals";
import { TabStrip } from "../tab-strip";
import "./pane.css";

export function TerminalPane() {
  const [renaming, setRenaming] = useState<string | null>(null);
  return (
    <section class="pane terminal-pane" aria-label="Terminals">
      <TabStrip
        label="Terminals"
        panel="terminal-panel"
        active={activeName.value}
        tabs={tabs.value.map((tab) => ({
          id: tab.name,
          label: titleOf(tab.name),
          title: tab.view.cwd.value ?? titleOf(tab.name),
          before: <span class={`dot ${dotOf(tab)}`} />,
        }))}
        onSelect={activate}
        onClose={(name) => void close(name)}
        onRename={setRenaming}
      >
        <div class="bar-tools">
          <button
            type="button"
            class="icon-button small"
            aria-label="New terminal"
            title="New terminal (Ctrl+Shift+`)"
            data-testid="new-terminal"
            onClick={openNew}
          >
            <Icon name="plus" />
          </button>
          <button
            type="button"
            class="icon-button small"
            aria-label="Search in the terminal"
            title="Search (Ctrl+Shift+F)"
            aria-pressed={searchOpen.value}
            onClick={() => {
              searchOpen.value = !searchOpen.value;
            }}
          >
            <Icon name="search" />
          </button>
        </div>
      </TabStrip>
      {searchOpen.value && activeTab.value && <SearchBar tab={activeTab.value} />}
      <div
        id="terminal-panel"
        class="terminal-panel"
        role="tabpanel"
        aria-label={`Terminal ${activeName.value ?? ""}`}
        data-testid="terminal"
      >
        {tabs.value.map((tab) => (
          <TerminalHost key={tab.name} tab={tab} />
        ))}
      </div>
      {narrow.value && activeTab.value && <KeyBar tab={activeTab.value} />}
      {renaming !== null && <RenameDialog name={renaming} onClose={() => setRenaming(null)} />}
    </section>
  );
}

function dotOf(tab: TerminalTab): string {
  const { at } = tab.link.phase.value;
  if (at === "attached") return tab.link.status.value === "ready" ? "ok" : "warn";
  if (at === "failed") return "bad";
  return at === "over" || at === "replaced" ? "" : "warn";
}

/** Holds a terminal's own element; it is kept, hidden, while another tab is shown. */
function TerminalHost({ tab }: { tab: TerminalTab }) {
  const host = useRef<HTMLDivElement>(null);
  const active = activeName.value === tab.name;
  useLayoutEffect(() => {
    host.current?.append(tab.view.element);
    startTab(tab);
  }, [tab]);
  useEffect(() => {
    if (!active) return;
    tab.view.fit();
    if (!document.querySelector("dialog[open]")) tab.view.focus();
  }, [active]);
  return <div ref={host} class="terminal-host" hidden={!active} />;
}

function SearchBar({ tab }: { tab: TerminalTab }) {
  const input = useRef<HTMLInputElement>(null);
  const [result, setResult] = useState<{ resultIndex: number; resultCount: number } | null>(null);
  const options = {
    decorations: {
      matchBackground: "#8f6a14",
      matchOverviewRuler: "#8f6a14",
      activeMatchBackground: "#0c7a61",
      activeMatchColorOverviewRuler: "#0c7a61",
    },
  };
  // At once, since keys typed after the shortcut are meant for the field.
  useLayoutEffect(() => {
    input.current?.focus();
    const watch = tab.view.search.onDidChangeResults(setResult);
    return () => {
      watch.dispose();
      tab.view.search.clearDecorations();
      tab.view.focus();
    };
  }, [tab]);
  const find = (backwards: boolean, incremental = false) => {
    const text = input.current?.value ?? "";
    if (text === "") tab.view.search.clearDecorations();
    else if (backwards) tab.view.search.findPrevious(text, options);
    else tab.view.search.findNext(text, { ...options, incremental });
  };
  const count = result && input.current?.value ? `${result.resultIndex + 1} of ${result.resultCount}` : "";
  return (
    <div class="search-bar" role="search">
      <input
        ref={input}
        class="input"
        aria-label="Search in the terminal"
        placeholder="Search"
        onInput={() => find(false, true)}
        onKeyDown={(event) => {
          if (event.key === "Enter") find(!event.shiftKey);
          if (event.key === "Escape") searchOpen.value = false;
        }}
      />
      <span class="search-count" role="status">
        {result?.resultCount === 0 ? "not found" : count}
      </span>
      <button
        type="button"
        class="icon-button small"
        aria-label="Previous"
        onClick={() => find(true)}
      >
        <Icon name="up" />
      </button>
      <button type="button" class="icon-button small" aria-label="Next" onClick={() => find(false)}>
        <Icon name="down" />
      </button>
      <button
        type="button"
        class="icon-button small"
        aria-label="Close the search"
        onClick={() => {
          searchOpen.value = false;
        }}
      >
        <Icon name="close" />
      </button>
    </div>
  );
}

function RenameDialog({ name, onClose }: { name: string; onClose: () => void }) {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.select(), []);
  return (
    <Dialog title="Rename terminal" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          rename(name, input.current?.value ?? "");
          onClose();
        }}
      >
        <label class="field">
          <span>Name</span>
          <input ref={input} class="input" maxLength={40} defaultValue={titleOf(name)} autofocus />
        </label>
        <footer>
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="button primary">
            Rename
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
