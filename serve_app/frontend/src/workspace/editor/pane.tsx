import { useLayoutEffect, useRef } from "preact/hooks";
import { formatBytes } from "../../lib/format";
import { fontSize } from "../../lib/preferences";
import { Icon } from "../../ui/icons";
import { sayFailure } from "../../ui/toasts";
import { EditorNotice } from "./notice";
import { renderedAs } from "../preview/kinds";
import { lazy } from "../../ui/lazy";
import { closeFile, compareWithSaved, reloadFile, saveFile, showFile, togglePreview } from "./editors";
import { activeFile, type FileTab, fileTabs } from "../files/tabs";
import { download } from "../files/files";
import { openHistory } from "../files/history";
import { baseName, parent, shown } from "../files/paths";
import { type StripTab, TabStrip } from "../tab-strip";
import "./pane.css";

const Preview = lazy(() => import("../preview/preview"));

export function EditorPane() {
  const tab = activeFile.value;
  const tabOf = (path: string) => fileTabs.value.find((each) => each.path.value === path);
  return (
    <section class="pane editor-pane" aria-label="Editor">
      <TabStrip
        label="Open files"
        panel="editor-panel"
        tabs={fileTabs.value.map(stripTab)}
        active={tab?.path.value ?? null}
        onSelect={(path) => {
          const to = tabOf(path);
          if (to) showFile(to);
        }}
        onClose={(path) => {
          const which = tabOf(path);
          if (which) void closeFile(which);
        }}
      >
        {tab && <FileTools tab={tab} />}
      </TabStrip>
      <div
        id="editor-panel"
        class="editor-panel"
        role="tabpanel"
        aria-label={tab ? tab.path.value : "No file"}
        data-testid="editor"
        style={{ "--code-size": `${fontSize.value}px` }}
      >
        {tab && <EditorNotice tab={tab} />}
        {tab ? <FileBody tab={tab} /> : <p class="pane-hint">Open a file from the tree.</p>}
      </div>
    </section>
  );
}

function stripTab(tab: FileTab): StripTab {
  const path = tab.path.value;
  const name = baseName(path);
  const twin = fileTabs.value.some((each) => each !== tab && baseName(each.path.value) === name);
  const label = shown(twin && parent(path) !== "" ? `${name} · ${parent(path)}` : name);
  return { id: path, label, title: shown(path), dirty: tab.dirty.value };
}

function FileTools({ tab }: { tab: FileTab }) {
  const receipt = tab.receipt.value;
  const open = tab.state.value.is === "open";
  return (
    <div class="bar-tools">
      <span class="receipt" role="status" data-testid="receipt">
        {receipt && (
          <>
            <Check />
            saved v{receipt.version}
            {receipt.durable && <span class="wide-only"> · durable</span>}
          </>
        )}
      </span>
      {open && renderedAs(tab.path.value) && (
        <button
          type="button"
          class="icon-button small"
          aria-label="Preview"
          title="Preview (Ctrl+Shift+V)"
          aria-pressed={tab.previewing.value}
          data-testid="preview-toggle"
          onClick={() => togglePreview(tab)}
        >
          <Icon name="eye" />
        </button>
      )}
      <button
        type="button"
        class="icon-button small"
        aria-label="Read the file again"
        title="Read the file again"
        onClick={() => void reloadFile(tab)}
      >
        <Icon name="refresh" />
      </button>
      {tab.dirty.value && (
        <button
          type="button"
          class="icon-button small"
          aria-label="Compare with the file"
          title="What is not saved"
          onClick={() => void compareWithSaved(tab)}
        >
          <Icon name="compare" />
        </button>
      )}
      <button
        type="button"
        class="icon-button small"
        aria-label="Versions of the file"
        title="Versions of the file"
        data-testid="history"
        onClick={() => openHistory(tab.path.value)}
      >
        <Icon name="history" />
      </button>
      <DownloadButton path={tab.path.value} />
      <button
        type="button"
        class={`button small ${tab.dirty.value ? "primary" : ""}`}
        data-testid="save"
        title="Save (Ctrl+S)"
        disabled={!open || tab.saving.value || !tab.dirty.value}
        onClick={() => void saveFile(tab)}
      >
        {tab.saving.value ? <span class="spinner" aria-hidden="true" /> : <Icon name="save" />}
        Save
      </button>
    </div>
  );
}

function Check() {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d="m3.5 8.5 3 3 6-7" />
    </svg>
  );
}

function DownloadButton({ path }: { path: string }) {
  return (
    <button
      type="button"
      class="icon-button small"
      aria-label="Download the file"
      title="Download the file"
      onClick={() => void download(path).catch((error) => sayFailure("The download failed", error))}
    >
      <Icon name="download" />
    </button>
  );
}

function FileBody({ tab }: { tab: FileTab }) {
  const state = tab.state.value;
  switch (state.is) {
    case "loading":
      return (
        <p class="pane-hint">
          <span class="spinner" aria-hidden="true" /> Reading…
        </p>
      );
    case "open":
      return tab.previewing.value && renderedAs(tab.path.value) ? (
        <Preview key={tab} tab={tab} />
      ) : (
        <CodeHost key={tab} tab={tab} />
      );
    case "media":
      return <Preview key={tab} tab={tab} />;
    case "failed":
      return (
        <div class="pane-hint" role="alert">
          <p>This file cannot be shown: {state.reason}</p>
          <button type="button" class="button" onClick={() => void reloadFile(tab)}>
            Try again
          </button>
        </div>
      );
    case "binary":
    case "large":
      if (state.is === "large" && renderedAs(tab.path.value) === "table") return <Preview key={tab} tab={tab} />;
      return (
        <div class="pane-hint">
          <p>
            {state.is === "binary"
              ? `This file is not text (${formatBytes(state.size)}).`
              : `This file is too large to edit here (${formatBytes(state.size)}).`}
          </p>
          <button
            type="button"
            class="button"
            onClick={() =>
              void download(tab.path.value).catch((error) =>
                sayFailure("The download failed", error),
              )
            }
          >
            <Icon name="download" /> Download
          </button>
        </div>
      );
  }
}

/** Holds the editor's own element, which lives on while other files are shown. */
function CodeHost({ tab }: { tab: FileTab }) {
  const host = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const state = tab.state.value;
    if (state.is !== "open" || !host.current) return;
    host.current.append(state.code.element);
    state.code.shown();
    if (tab.wantsFocus) state.code.focus();
    tab.wantsFocus = false;
    return () => state.code.element.remove();
  }, [tab]);
  return <div ref={host} class="code-host" />;
}
