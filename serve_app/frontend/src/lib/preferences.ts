import { effect, signal } from "@preact/signals";

/** Preferences of this browser, kept in its local storage. */
export type Theme = "system" | "light" | "dark";

export const theme = signal<Theme>(load("theme", ["system", "light", "dark"] as const));
export const fontSize = signal<number>(clampFont(Number(read("font-size") ?? 14)));
export const screenReader = signal<boolean>(read("screen-reader") === "on");

const dark = matchMedia("(prefers-color-scheme: dark)");
export const systemDark = signal(dark.matches);
dark.addEventListener("change", () => {
  systemDark.value = dark.matches;
});

/** True while the page is dark. */
export const isDark = () =>
  theme.value === "dark" || (theme.value === "system" && systemDark.value);

effect(() => {
  if (theme.value === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme.value;
  write("theme", theme.value);
});
/** The kinds of files that were shown as they read, and not as text, when one was looked at last. */
export const previewed = signal<ReadonlySet<string>>(new Set((read("previewed") ?? "").split(",")));
effect(() => write("previewed", [...previewed.value].filter(Boolean).join(",")));

export function preferPreview(kind: string, on: boolean): void {
  const next = new Set(previewed.value);
  if (on) next.add(kind);
  else next.delete(kind);
  previewed.value = next;
}

effect(() => write("font-size", String(fontSize.value)));
effect(() => write("screen-reader", screenReader.value ? "on" : "off"));

export function changeFontSize(step: number): void {
  fontSize.value = clampFont(fontSize.value + step);
}

function clampFont(size: number): number {
  return Number.isFinite(size) ? Math.min(Math.max(Math.round(size), 9), 28) : 14;
}

function load<T extends string>(name: string, allowed: readonly [T, ...T[]]): T {
  const found = read(name);
  return allowed.find((value) => value === found) ?? allowed[0];
}

function read(name: string): string | null {
  try {
    return localStorage.getItem(`coditect.${name}`);
  } catch {
    return null; // storage is closed to this page
  }
}

function write(name: string, value: string): void {
  try {
    localStorage.setItem(`coditect.${name}`, value);
  } catch {
    // Closed or full: the preference lasts as long as the page.
  }
}
