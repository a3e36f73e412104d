import { changeFontSize, fontSize, screenReader } from "../lib/preferences";
import { Brand } from "../ui/brand";
import { confirm } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { MenuButton, type MenuEntries } from "../ui/menu";
import { ThemeButton } from "../ui/theme-button";
import { dropDrafts } from "./editor/drafts";
import { anyDirty } from "./files/tabs";
import { arrange, layout, narrow, narrowPane, toggleTree } from "./layout";
import { endSession, hibernate, phase, session, signOut, user } from "./session/session";
import { openPorts } from "./ports/panel";
import { ports } from "./ports/ports";
import { openSessions } from "./session/switcher";
import { networkOpen } from "./network/open";
import { openSettings } from "./settings/open";
import { shortcutsOpen } from "./shortcuts";
import { catalog } from "./web-programs/catalog";
import { open } from "./web-programs/running";
import "./top-bar.css";

export function TopBar() {
  const columns = layout.value.orientation === "columns";
  return (
    <header class="top-bar">
      <button
        type="button"
        class="icon-button"
        aria-label="Files"
        title="Files (Ctrl+Shift+E)"
        aria-pressed={narrow.value ? undefined : layout.value.treeOpen}
        onClick={toggleTree}
      >
        <Icon name="menu" />
      </button>
      <Brand />
      <h1 class="visually-hidden">Workspace {session.value?.name ?? ""}</h1>
      <button
        type="button"
        class="session-name wide-only"
        title="Sessions"
        data-testid="session-switcher"
        onClick={openSessions}
      >
        {session.value?.name ?? ""}
        <Icon name="down" />
      </button>
      <span class="status-gap" />
      {narrow.value ? (
        <div class="segments" role="group" aria-label="Shown">
          <Segment pane="terminal" label="Terminal" />
          <Segment pane="editor" label="Editor" />
        </div>
      ) : (
        <button
          type="button"
          class="icon-button"
          aria-label={columns ? "Put the editor above the terminal" : "Put the editor beside the terminal"}
          title={columns ? "Editor above" : "Editor beside"}
          onClick={() => arrange({ orientation: columns ? "rows" : "columns" })}
        >
          <Icon name={columns ? "rows" : "columns"} />
        </button>
      )}
      <PortsButton />
      <MenuButton label="Open in an editor of the browser" testId="web-programs" entries={webPrograms}>
        <Icon name="apps" />
      </MenuButton>
      <ThemeButton />
      <button
        type="button"
        class="icon-button wide-only"
        aria-label="Keyboard shortcuts"
        title="Keyboard shortcuts (Ctrl+Shift+H)"
        onClick={() => {
          shortcutsOpen.value = true;
        }}
      >
        <Icon name="help" />
      </button>
      <MenuButton label="Account and session" testId="user-menu" entries={userMenu}>
        <Icon name="user" />
      </MenuButton>
    </header>
  );
}

function PortsButton() {
  const count = ports.value.filter((each) => each.listening).length;
  return (
    <button
      type="button"
      class="icon-button ports-button"
      aria-label={count ? `Ports: ${count} in use` : "Ports"}
      title="Ports"
      data-testid="ports-button"
      onClick={openPorts}
    >
      <Icon name="ports" />
      {count > 0 && <span class="ports-count">{count}</span>}
    </button>
  );
}

function Segment({ pane, label }: { pane: "terminal" | "editor"; label: string }) {
  return (
    <button
      type="button"
      aria-pressed={narrowPane.value === pane}
      onClick={() => {
        narrowPane.value = pane;
      }}
    >
      {label}
    </button>
  );
}

function webPrograms(): MenuEntries {
  return catalog.map((program) => ({
    label: program.title,
    hint: program.says,
    run: () => void open(program),
  }));
}

function userMenu(): MenuEntries {
  const admin: MenuEntries =
    user.value?.role === "admin" ? [{ label: "Operators' page", href: "/admin" }] : [];
  return [
    { label: user.value?.email ?? "Signed in", disabled: true },
    "separator",
    { label: `Larger text (${fontSize.value} px)`, hint: "Ctrl+Shift+.", run: () => changeFontSize(1) },
    { label: "Smaller text", hint: "Ctrl+Shift+,", run: () => changeFontSize(-1) },
    {
      label: "Screen reader mode",
      checked: screenReader.value,
      run: () => {
        screenReader.value = !screenReader.value;
      },
    },
    {
      label: "Keyboard shortcuts",
      hint: "Ctrl+Shift+H",
      run: () => {
        shortcutsOpen.value = true;
      },
    },
    { label: "Settings…", run: () => openSettings() },
    "separator",
    ...admin,
    { label: "Sessions…", run: openSessions },
    {
      label: "Network…",
      run: () => {
        networkOpen.value = true;
      },
    },
    {
      label: "Put to sleep…",
      disabled: !["ready", "recovering"].includes(phase.value),
      run: () => void reallySleep(),
    },
    { label: "End session…", danger: true, run: () => void reallyEnd() },
    "separator",
    { label: "Sign out", run: () => void reallySignOut() },
  ];
}

async function reallySleep(): Promise<void> {
  const text =
    "All programs in its terminals end, servers among them. Files, and what the terminals show, are kept; what is not saved in the editor stays in this browser.";
  if (await confirm("Put this session to sleep?", text, "End programs and sleep")) await hibernate();
}

async function reallyEnd(): Promise<void> {
  const text =
    "Its programs are ended and all files of this workspace are deleted. This cannot be undone.";
  if (await confirm("End this session?", text, "End session and delete files")) await endSession();
}

async function reallySignOut(): Promise<void> {
  const text = "Some files have changes that are not saved. They are lost when you sign out.";
  if (anyDirty.value && !(await confirm("Sign out?", text, "Sign out"))) return;
  await dropDrafts().catch(() => undefined); // the next person at this browser is somebody else
  await signOut();
}
