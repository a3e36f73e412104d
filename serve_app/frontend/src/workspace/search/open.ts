import { signal } from "@preact/signals";

/** The element that had the focus when a file was to be looked for by its name; null: none is. */
export const quickOpen = signal<HTMLElement | null>(null);

export function openQuickly(): void {
  quickOpen.value ??= takeFocus();
}

/** The part that the column at the left shows. */
export const sidePanel = signal<"files" | "search">("files");
/** Counts the times that the search was asked for: its field has the focus then. */
export const searchAsked = signal(0);

export function askForSearch(): void {
  takeFocus();
  sidePanel.value = "search";
  searchAsked.value += 1;
}

/** Nothing that is typed until the field is there may go into a shell or a file. */
function takeFocus(): HTMLElement {
  const before = document.activeElement instanceof HTMLElement ? document.activeElement : document.body;
  before.blur();
  return before;
}
