import type { ComponentChildren } from "preact";
import { Questions } from "../ui/dialog";
import { lazy } from "../ui/lazy";
import { Toasts } from "../ui/toasts";
import { DiffDialog } from "./editor/diff";
import { EditorPane } from "./editor/pane";
import { fileTabs } from "./files/tabs";
import { HistoryDialog } from "./files/history";
import { MoveDialog } from "./files/move-dialog";
import { arrange, drawerOpen, layout, narrow, narrowPane } from "./layout";
import { networkOpen } from "./network/open";
import { quickOpen, sidePanel } from "./search/open";
import { settingsSection } from "./settings/open";
import { PortsDialog } from "./ports/panel";
import { SizingDialog } from "./terminals/sizing";
import { missing, openAnother, phase, resume, session } from "./session/session";
import { SessionsDialog } from "./session/switcher";
import { ShortcutsDialog } from "./shortcuts";
import { SignedOutDialog } from "./session/signed-out";
import { Splitter } from "../ui/splitter";
import { StatusBar } from "./status-bar";
import { TerminalPane } from "./terminals/pane";
import { TopBar } from "./top-bar";
import { TreePanel } from "./files/tree";
import { running } from "./web-programs/running";
import "./app.css";

const NetworkDialog = lazy(() => import("./network/network"));
const QuickOpen = lazy(() => import("./search/quick-open"));
const SearchPanel = lazy(() => import("./search/panel"));
const Settings = lazy(() => import("./settings/settings"));
const WebProgramDialog = lazy(() => import("./web-programs/dialog"));

export function App() {
  return (
    <>
      <TopBar />
      <main class="work">
        {narrow.value ? <NarrowWork /> : <WideWork />}
        <SessionNotice />
      </main>
      <StatusBar />
      <ShortcutsDialog />
      <HistoryDialog />
      <MoveDialog />
      <DiffDialog />
      <SessionsDialog />
      <PortsDialog />
      {settingsSection.value && <Settings />}
      {networkOpen.value && <NetworkDialog />}
      {quickOpen.value && <QuickOpen />}
      {running.value && <WebProgramDialog />}
      <SizingDialog />
      <SignedOutDialog />
      <Questions />
      <Toasts />
    </>
  );
}

function SidePanel() {
  return sidePanel.value === "search" ? <SearchPanel /> : <TreePanel />;
}

function WideWork() {
  const { treeOpen, treeWidth } = layout.value;
  return (
    <>
      {treeOpen && (
        <>
          <div class="tree-column" style={{ width: `${treeWidth}px` }}>
            <SidePanel />
          </div>
          <Splitter
            label="Width of the file tree"
            direction="columns"
            value={treeWidth}
            low={140}
            high={600}
            step={16}
            measure={(box, x) => x - box.left}
            onChange={(value) => arrange({ treeWidth: value })}
          />
        </>
      )}
      <Panes />
    </>
  );
}

function Panes() {
  const { orientation, editorShare } = layout.value;
  const editing = fileTabs.value.length > 0;
  const rows = orientation === "rows";
  return (
    <div class={`panes ${orientation}`}>
      {editing && (
        <>
          <div class="pane-box" style={{ flex: `${editorShare} 1 0` }}>
            <EditorPane />
          </div>
          <Splitter
            label="Space of the editor"
            direction={orientation}
            value={editorShare}
            low={0.1}
            high={0.9}
            step={0.03}
            measure={(box, x, y) =>
              rows ? (y - box.top) / box.height : (x - box.left) / box.width
            }
            onChange={(value) => arrange({ editorShare: value })}
          />
        </>
      )}
      <div key="terminal" class="pane-box" style={{ flex: `${editing ? 1 - editorShare : 1} 1 0` }}>
        <TerminalPane />
      </div>
    </div>
  );
}

function NarrowWork() {
  return (
    <>
      <div class="pane-box" hidden={narrowPane.value !== "editor"}>
        <EditorPane />
      </div>
      <div key="terminal" class="pane-box" hidden={narrowPane.value !== "terminal"}>
        <TerminalPane />
      </div>
      {drawerOpen.value && (
        <div
          class="drawer-scrim"
          onClick={(event) => {
            if (event.target === event.currentTarget) drawerOpen.value = false;
          }}
          onKeyDown={(event) => {
            if (event.key === "Escape") drawerOpen.value = false;
          }}
        >
          <div class="drawer">
            <SidePanel />
          </div>
        </div>
      )}
    </>
  );
}

/** Says over the panes what stands in the way of working, and what can be done about it. */
function SessionNotice() {
  if (missing.value) {
    return (
      <Notice title="No such workspace" text={missing.value}>
        <button type="button" class="button primary" onClick={() => void openAnother()}>
          Open my workspace
        </button>
      </Notice>
    );
  }
  switch (phase.value) {
    case "hibernated":
      return (
        <Notice title="This session is asleep" text="Its files are kept. Resuming takes a moment.">
          <button type="button" class="button primary" autofocus onClick={() => void resume()}>
            Resume
          </button>
        </Notice>
      );
    case "failed":
      return (
        <Notice
          title="The workspace did not start"
          text={session.value?.failure ?? "Its container failed. Files are kept."}
        >
          <button type="button" class="button primary" onClick={() => void resume()}>
            Try again
          </button>
        </Notice>
      );
    case "ended":
      return (
        <Notice title="This session has ended" text="Its programs and files are gone.">
          <button type="button" class="button primary" onClick={() => void openAnother()}>
            Open a new one
          </button>
        </Notice>
      );
    default:
      return null;
  }
}

function Notice(props: { title: string; text: string; children: ComponentChildren }) {
  return (
    <div class="session-notice" role="alert">
      <div class="session-notice-box">
        <h2>{props.title}</h2>
        <p>{props.text}</p>
        {props.children}
      </div>
    </div>
  );
}
