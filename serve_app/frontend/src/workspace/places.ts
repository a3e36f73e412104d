/** Somebody's place in each open file, and in the editor or not: kept over reloads. */

import type { Place } from "./editor/code-view";
import { sessionId } from "./session/session";

const KEY = `coditect.places.${sessionId}`;
const FOCUS_KEY = `coditect.focus.${sessionId}`;
const MAX_PLACES = 60;

export function readPlaces(): Record<string, Place> {
  try {
    return checked(JSON.parse(localStorage.getItem(KEY) ?? "{}"));
  } catch {
    return {}; // storage is closed to this page, or somebody wrote nonsense there
  }
}

/** Keep the places of the files that are open, beside those of files that were before. */
export function writePlaces(open: Record<string, Place>): void {
  const { ...before } = readPlaces();
  for (const path of Object.keys(open)) delete before[path]; // to come last, as the newest
  const all = Object.entries({ ...before, ...open }).slice(-MAX_PLACES);
  try {
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(all)));
    const inEditor = document.activeElement?.closest(".code-host") != null;
    sessionStorage.setItem(FOCUS_KEY, inEditor ? "editor" : "");
  } catch {
    // A cursor at the beginning is no loss.
  }
}

/** True if the editor had the focus when this tab was left; asked once. */
export function wasInEditor(): boolean {
  try {
    const was = sessionStorage.getItem(FOCUS_KEY) === "editor";
    sessionStorage.removeItem(FOCUS_KEY);
    return was;
  } catch {
    return false;
  }
}

function checked(value: unknown): Record<string, Place> {
  const entries = Object.entries(typeof value === "object" && value !== null ? value : {});
  return Object.fromEntries(
    entries.filter((entry): entry is [string, Place] =>
      ["anchor", "head", "top"].every((name) => typeof entry[1]?.[name] === "number"),
    ),
  );
}
