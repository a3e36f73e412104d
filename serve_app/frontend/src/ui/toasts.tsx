import { signal } from "@preact/signals";
import { explain } from "../lib/api";
import { Icon } from "./icons";

const MAX_TOASTS = 4;
const SECONDS = { info: 4, bad: 10 };

interface Toast {
  id: number;
  kind: keyof typeof SECONDS;
  text: string;
}

const toasts = signal<Toast[]>([]);
let last = 0;

/** Say something that needs no answer. Errors stay longer, and are read out at once. */
export function say(text: string, kind: Toast["kind"] = "info"): void {
  const id = ++last;
  toasts.value = [...toasts.value, { id, kind, text }].slice(-MAX_TOASTS);
  setTimeout(() => dismiss(id), SECONDS[kind] * 1000);
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
