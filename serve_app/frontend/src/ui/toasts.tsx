import { signal } from "@preact/signals";
import { explain } from "../lib/api";
import { Icon } from "./icons";

const MAX_TOASTS = 4;
const SECONDS = { info: 4, bad: 10 };

interface Toast {
  id: number;
  kind: keyof typeof SECONDS;
  text: string;
  action: Action | null;
}

/** What can be done about it: a page to go to. */
export interface Action {
  label: string;
  href: string;
}

const toasts = signal<Toast[]>([]);
let last = 0;

/** Say something that needs no answer. Errors stay longer, and are read out at once. */
export function say(text: string, kind: Toast["kind"] = "info", action: Action | null = null): void {
  const id = ++last;
  toasts.value = [...toasts.value, { id, kind, text, action }].slice(-MAX_TOASTS);
  setTimeout(() => dismiss(id), (action ? SECONDS.bad : SECONDS[kind]) * 1000);
}

/** Say that something failed, and why. */
export function sayFailure(what: string, error: unknown): void {
  say(`${what}: ${explain(error)}`, "bad");
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

export function Toasts() {
  return (
    <div class="toasts">
      {toasts.value.map((toast) => (
        <div
          key={toast.id}
          class={`toast ${toast.kind}`}
          role={toast.kind === "bad" ? "alert" : "status"}
        >
          <span>{toast.text}</span>
          {toast.action && (
            <a class="toast-action" href={toast.action.href} target="_blank" rel="noopener">
              {toast.action.label}
            </a>
          )}
          <button
            type="button"
            class="icon-button small"
            aria-label="Dismiss"
            onClick={() => dismiss(toast.id)}
          >
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}
