import { effect, untracked } from "@preact/signals";
import { render } from "preact";
import { maybeSignedIn, onSignedOut } from "../lib/api";
import { sayFailure } from "../ui/toasts";
import { App } from "./app";
import { restoreFiles } from "./editor/editors";
import { followPorts } from "./ports/ports";
import { followEvents } from "./session/events-link";
import { activeFile, codeOf } from "./files/tabs";
import { layout } from "./layout";
import { type Memory, readMemory } from "./session/memory";
import { followOutside, lookOutside } from "./session/outside";
import { wasInEditor } from "./places";
import { awake, followUsage, loadSession, loadUser, missing, phase, session } from "./session/session";
import { installShortcuts } from "./shortcuts";
import { signedOut } from "./session/signed-out";
import { activeTab, noteNames, openTerminals, outputCount } from "./terminals/terminals";
import { refresh, restoreTree } from "./files/tree-store";
import { guardDrops } from "./files/uploads";
import "../styles/base.css";

const RETRY_MILLISECONDS = 2000;
const SETTLE_MILLISECONDS = 1500;

onSignedOut.subscribe(signedOut);
installShortcuts();
guardDrops();
render(<App />, document.getElementById("app")!);
maybeSignedIn().then((maybe) => (maybe ? begin() : signedOut()));

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
  followEvents(noteNames);
  followPorts();
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
      void showAsBefore(memory);
      followChanges();
      followOutside();
    });
  });
}

async function showAsBefore(memory: Memory): Promise<void> {
  const inEditor = wasInEditor();
  void restoreTree(memory.expanded);
  await Promise.all([openTerminals(memory), restoreFiles(memory)]);
  if (!inEditor) return;
  // A terminal takes the focus when it comes onto the page, which is a frame later.
  requestAnimationFrame(() =>
    requestAnimationFrame(() => activeFile.value && codeOf(activeFile.value)?.focus()),
  );
}

/** Look at the tree again when something may have changed it. */
function followChanges(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = () => {
    // Reading files would wake a sleeping session.
    if (document.visibilityState !== "visible" || !awake.value) return;
    void refresh();
    if (activeFile.value) void lookOutside(activeFile.value);
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
