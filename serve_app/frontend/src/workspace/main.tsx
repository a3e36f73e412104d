import { effect, untracked } from "@preact/signals";
import { render } from "preact";
import { onSignedOut } from "../lib/api";
import { sayFailure } from "../ui/toasts";
import { App } from "./app";
import { restoreFiles } from "./editors";
import { followEvents } from "./events-link";
import { layout } from "./layout";
import { readMemory } from "./memory";
import { awake, followUsage, loadSession, loadUser, missing, phase, session } from "./session";
import { installShortcuts } from "./shortcuts";
import { signedOut } from "./signed-out";
import { activeTab, openTerminals, outputCount, terminalText } from "./terminals";
import { load, refresh } from "./tree-store";
import "../styles/base.css";
import "./workspace.css";

declare global {
  interface Window {
    /** For tests in a browser. */
    coditect: { terminalText: (name?: string) => string };
  }
}

const RETRY_MILLISECONDS = 2000;
const SETTLE_MILLISECONDS = 1500;

window.coditect = { terminalText };
onSignedOut.current = signedOut;
installShortcuts();
render(<App />, document.getElementById("app")!);
void begin();

async function begin(): Promise<void> {
  loadUser().catch(() => undefined); // the menu says less without it
  try {
    const found = await loadSession();
    layout.value = readMemory(found.workspace_state).layout;
  } catch (error) {
    if (missing.value) return;
    sayFailure("The session cannot be read", error);
    setTimeout(() => void begin(), RETRY_MILLISECONDS);
    return;
  }
  followEvents();
  followUsage();
  effect(() => {
    // Whoever pressed a button of a notice that is gone now goes on in the terminal.
    if (phase.value === "ready" && document.activeElement === document.body) {
      activeTab.peek()?.view.focus();
    }
  });
  // A sleeping session is not woken by looking at it: terminals and files wait for a container.
  let begun = false;
  effect(() => {
    if (!awake.value || begun) return;
    begun = true;
    untracked(() => {
      const memory = readMemory(session.value?.workspace_state);
      void openTerminals(memory);
      void load("");
      void restoreFiles(memory);
      followChanges();
    });
  });
}

/** Look at the tree again when something may have changed it. */
function followChanges(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = () => {
    // Reading files would wake a sleeping session.
    if (document.visibilityState === "visible" && awake.value) void refresh();
  };
  effect(() => {
    if (outputCount.value === 0) return;
    timer ??= setTimeout(() => {
      timer = undefined;
      look();
    }, SETTLE_MILLISECONDS);
  });
  document.addEventListener("visibilitychange", look);
}
