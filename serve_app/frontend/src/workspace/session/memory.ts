/**
 * What the next browser shows as this one did: kept in the session's `workspace_state`, which the server
 * changes by merge patches (RFC 7396). Patches are gathered for a moment; the last one of a page that
 * goes away is still sent.
 */

import { call } from "../../lib/api";
import { isText } from "../files/paths";
import { type Group, readGroups } from "../terminals/groups";
import { sessionPath } from "./session";

const QUIET_MILLISECONDS = 700;
const RETRY_MILLISECONDS = 10_000;

export interface Layout {
  /** Editor above the terminal, or beside it. */
  orientation: "rows" | "columns";
  /** The editor's part of the space, 0 to 1. */
  editorShare: number;
  treeWidth: number;
  treeOpen: boolean;
}

export interface Memory {
  openFiles: string[];
  /** Folders that are open in the tree. */
  expanded: string[];
  activeFile: string | null;
  activeTerminal: string | null;
  terminalTitles: Record<string, string>;
  terminalGroups: Group[];
  layout: Layout;
}

export const DEFAULT_LAYOUT: Layout = {
  orientation: "rows",
  editorShare: 0.55,
  treeWidth: 240,
  treeOpen: true,
};

const MAX_FILES = 40;
/** The server keeps 64 kB of a session's state. */
const MAX_EXPANDED = 100;
const MAX_EXPANDED_CHARACTERS = 8000;

/** Read a stored state, whoever wrote it; what does not fit is left out. Pure. */
export function readMemory(state: Record<string, unknown> | undefined): Memory {
  const layout = object(state?.["layout"]);
  const titles = Object.entries(object(state?.["terminal_titles"]));
  return {
    openFiles: texts(state?.["open_files"]).slice(0, MAX_FILES),
    expanded: texts(state?.["expanded_folders"]).slice(0, MAX_EXPANDED),
    activeFile: text(state?.["active_file"]),
    activeTerminal: text(state?.["active_terminal"]),
    terminalTitles: Object.fromEntries(
      titles.filter((pair): pair is [string, string] => typeof pair[1] === "string"),
    ),
    terminalGroups: readGroups(state?.["terminal_groups"]),
    layout: {
      orientation: layout["orientation"] === "columns" ? "columns" : "rows",
      editorShare: between(layout["editor_share"], 0.1, 0.9, DEFAULT_LAYOUT.editorShare),
      treeWidth: between(layout["tree_width"], 140, 600, DEFAULT_LAYOUT.treeWidth),
      treeOpen: layout["tree_open"] !== false,
    },
  };
}

/** The layout as it is stored. Pure. */
export function layoutPatch(layout: Layout): Record<string, unknown> {
  return {
    orientation: layout.orientation,
    editor_share: Math.round(layout.editorShare * 1000) / 1000,
    tree_width: Math.round(layout.treeWidth),
    tree_open: layout.treeOpen,
  };
}

/** The folders that are remembered as open: as many of them as fit, the outer ones first. Pure. */
export function expandedPatch(expanded: Iterable<string>): string[] {
  let characters = 0;
  return [...expanded]
    .filter((path) => path !== "" && isText(path))
    .sort((a, b) => a.length - b.length)
    .filter((path) => (characters += path.length) <= MAX_EXPANDED_CHARACTERS)
    .slice(0, MAX_EXPANDED);
}

let waiting: Record<string, unknown> = {};
let timer: ReturnType<typeof setTimeout> | undefined;

/** Keep these values; null removes one. */
export function remember(patch: Record<string, unknown>): void {
  waiting = { ...waiting, ...patch };
  clearTimeout(timer);
  timer = setTimeout(flush, QUIET_MILLISECONDS);
}

/** Send what waits now; `leaving` when the page goes away. */
export function flush(leaving = false): void {
  clearTimeout(timer);
  if (Object.keys(waiting).length === 0) return;
  const patch = waiting;
  waiting = {};
  call("PATCH", sessionPath, { json: { workspace_state: patch }, keepalive: leaving }).catch(() => {
    // The layout is a convenience: it is tried again quietly, newer values first.
    waiting = { ...patch, ...waiting };
    clearTimeout(timer);
    timer = setTimeout(flush, RETRY_MILLISECONDS);
  });
}

addEventListener("pagehide", () => flush(true));

function object(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

function texts(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  return [...new Set(value.filter((item): item is string => typeof item === "string" && item !== ""))];
}

function between(value: unknown, low: number, high: number, otherwise: number): number {
  return typeof value === "number" && Number.isFinite(value)
    ? Math.min(Math.max(value, low), high)
    : otherwise;
}
