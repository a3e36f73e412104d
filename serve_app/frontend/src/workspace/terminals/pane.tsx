import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Dialog } from "../../ui/dialog";
import { Icon } from "../../ui/icons";
import { MenuButton } from "../../ui/menu";
import { KeyBar } from "./key-bar";
import { narrow } from "../layout";
import { Splitter } from "../../ui/splitter";
import { border, type Group, MAX_SHOWN, resized } from "./groups";
import {
  activate,
  activeName,
  activeTab,
  close,
  groups,
  openNew,
  regroup,
  rename,
  searchOpen,
  showAlone,
  shownGroup,
  split,
  startTab,
  tabs,
  type TerminalTab,
  titleOf,
} from "./terminals";
import { TabStrip } from "../tab-strip";
import "./pane.css";

export function TerminalPane() {
  const [renaming, setRenaming] = useState<string | null>(null);
  const group = narrow.value ? null : shownGroup.value;
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
          joined: group?.names.includes(tab.name) ?? false,
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
          {!narrow.value && <SplitButton />}
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
        class={`terminal-panel ${group ? `group ${group.direction}` : ""}`}
        role="tabpanel"
        aria-label={`Terminal ${activeName.value ?? ""}`}
        data-testid="terminal"
      >
        {tabs.value.map((tab) => (
          <TerminalHost key={tab.name} tab={tab} group={group} />
        ))}
        {group?.names.slice(1).map((name, index) => (
          <Border key={name} group={group} index={index} />
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
function TerminalHost({ tab, group }: { tab: TerminalTab; group: Group | null }) {
  const host = useRef<HTMLDivElement>(null);
  const active = activeName.value === tab.name;
  const at = group?.names.indexOf(tab.name) ?? -1;
  useLayoutEffect(() => {
    host.current?.append(tab.view.element);
    startTab(tab);
  }, [tab]);
  useEffect(() => {
    if (!active) return;
    tab.view.fit();
    if (!document.querySelector("dialog[open]")) tab.view.focus();
  }, [active]);
  // In its place by order alone: an element that is moved on the page loses its scrolling.
  const place = at < 0 ? {} : { order: 2 * at, flex: `${group!.shares[at]} 1 0` };
  return (
    <div
      ref={host}
      class={`terminal-host ${at >= 0 && active ? "current" : ""}`}
      hidden={!active && at < 0}
      style={place}
      onFocusIn={() => activate(tab.name)}
    />
  );
}

function Border({ group, index }: { group: Group; index: number }) {
  const rows = group.direction === "rows";
  return (
    <div class="terminal-border" style={{ order: 2 * index + 1 }}>
      <Splitter
        label={`Space of ${titleOf(group.names[index]!)}`}
        direction={group.direction}
        value={border(group, index)}
        low={0}
        high={1}
        step={0.03}
        measure={(_, x, y) => {
          const box = document.getElementById("terminal-panel")!.getBoundingClientRect();
          return rows ? (y - box.top) / box.height : (x - box.left) / box.width;
        }}
        onChange={(place) =>
          regroup(groups.value.map((each) => (each === group ? resized(group, index, place) : each)))
        }
      />
    </div>
  );
}

function SplitButton() {
  return (
    <MenuButton
      label="Split"
      class="icon-button small"
      testId="split"
      entries={() => {
        const group = shownGroup.value;
        const full = (group?.names.length ?? 1) >= MAX_SHOWN;
        return [
          {
            label: "New terminal beside this one",
            hint: "Ctrl+Shift+5",
            disabled: full || group?.direction === "rows",
            run: () => split("columns"),
          },
          {
            label: "New terminal below this one",
            hint: "Ctrl+Shift+'",
            disabled: full || group?.direction === "columns",
            run: () => split("rows"),
          },
          "separator",
          {
            label: "Show this one in a tab of its own",
            disabled: group === null,
            run: () => showAlone(activeName.value!),
          },
        ];
      }}
    >
      <Icon name="columns" />
    </MenuButton>
  );
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
