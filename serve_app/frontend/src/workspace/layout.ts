/** The division of the page, and the part that a narrow screen shows. */

import { effect, signal } from "@preact/signals";
import { DEFAULT_LAYOUT, type Layout, layoutPatch, remember } from "./session/memory";

export const layout = signal<Layout>(DEFAULT_LAYOUT);
export const narrow = signal(false);
/** On a narrow screen one of the two is shown. */
export const narrowPane = signal<"terminal" | "editor">("terminal");
export const drawerOpen = signal(false);

const query = matchMedia("(max-width: 760px)");
narrow.value = query.matches;
query.addEventListener("change", () => {
  narrow.value = query.matches;
});

/** Change the layout, for the next browser too. */
export function arrange(change: Partial<Layout>): void {
  layout.value = { ...layout.value, ...change };
  remember({ layout: layoutPatch(layout.value) });
}

/** Show or hide the tree: a column on wide screens, a drawer on narrow ones. */
export function toggleTree(): void {
  if (narrow.value) drawerOpen.value = !drawerOpen.value;
  else arrange({ treeOpen: !layout.value.treeOpen });
}

// Phones lay their keyboard over the page; what is left of it is passed to the style sheet.
effect(() => {
  const visual = window.visualViewport;
  if (!visual) return;
  const fit = () =>
    document.documentElement.style.setProperty("--visible-height", `${Math.round(visual.height)}px`);
  fit();
  visual.addEventListener("resize", fit);
});
