/**
 * Puts on the clipboard what a program in a terminal copies (OSC 52), as tmux and editors do. The browser's
 * own leave is enough; without it people are asked, once for a workspace. Each copy is said.
 */

import { ask } from "../../../ui/dialog";
import { say } from "../../../ui/toasts";
import { sessionId } from "../../session/session";

const STORED = `coditect.clipboard.${sessionId}`;

let asking = false;
let waiting: string | null = null;

export async function copyForProgram(text: string): Promise<void> {
  const stored = read();
  if (stored === "never") return;
  if (stored !== "always" && !(await granted()) && !(await allowed())) return;
  try {
    await navigator.clipboard.writeText(text);
    waiting = null;
    say(`A program copied ${text.length} characters to the clipboard.`);
  } catch {
    // The page has not the focus, or the browser wants a gesture: with the next one.
    if (waiting === null) for (const kind of GESTURES) addEventListener(kind, again, { capture: true });
    waiting = text;
  }
}

const GESTURES = ["focus", "pointerdown", "keydown"];

function again(): void {
  for (const kind of GESTURES) removeEventListener(kind, again, { capture: true });
  const text = waiting;
  waiting = null;
  if (text !== null) {
    navigator.clipboard?.writeText(text).then(
      () => say(`A program copied ${text.length} characters to the clipboard.`),
      () => say("A program could not copy to the clipboard: the browser does not allow it.", "bad"),
    );
  }
}

async function granted(): Promise<boolean> {
  try {
    // Not every browser knows the name.
    const name = "clipboard-write" as PermissionName;
    return (await navigator.permissions.query({ name })).state === "granted";
  } catch {
    return false;
  }
}

async function allowed(): Promise<boolean> {
  if (asking) return false;
  asking = true;
  const answer = await ask(
    "May programs copy to your clipboard?",
    "A program in a terminal of this workspace wants to. It replaces what you copied; it can never read it.",
    [
      { value: "never", label: "Never" },
      { value: "always", label: "Allow", kind: "primary" },
    ],
  ).finally(() => (asking = false));
  if (answer !== null) write(answer);
  return answer === "always";
}

function read(): string | null {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null; // storage is closed
  }
}

function write(answer: string): void {
  try {
    localStorage.setItem(STORED, answer);
  } catch {
    // Asked again in the next page.
  }
}
