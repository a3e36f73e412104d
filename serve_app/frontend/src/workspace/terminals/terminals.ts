/** The terminals of the session as tabs: one view and one link each. */

import { computed, signal } from "@preact/signals";
import { call, callJson } from "../../lib/api";
import { confirm } from "../../ui/dialog";
import { say, sayFailure } from "../../ui/toasts";
import { apart, type Group, groupOf, groupsPatch, MAX_SHOWN, together } from "./groups";
import { type Memory, remember } from "../session/memory";
import { sessionId, sessionPath } from "../session/session";
import { TerminalLink } from "./link";
import { freeName } from "./emulator/text";
import { TerminalView } from "./emulator/view";

export interface TerminalTab {
  name: string;
  view: TerminalView;
  link: TerminalLink;
}

interface TerminalInfo {
  name: string;
}

const MAX_TABS = 32;
/** Terminals of such names are programs' (see `AUTOMATION_PREFIX` of the terminal protocol). */
const AUTOMATION_PREFIX = "auto-";

export const tabs = signal<TerminalTab[]>([]);
export const activeName = signal<string | null>(null);
export const titles = signal<Record<string, string>>({});
export const searchOpen = signal(false);
/** Counts output of any terminal, for those who look again after something ran. */
export const outputCount = signal(0);

export const activeTab = computed(
  () => tabs.value.find((tab) => tab.name === activeName.value) ?? null,
);

export const groups = signal<Group[]>([]);
/** The group of the active terminal, if it is one of several that are shown. */
export const shownGroup = computed(() => groupOf(groups.value, activeName.value));

const closedHere = new Set<string>();
/** The terminal that was active when the session was last shown. */
let last: string | null = null;

/** Show the session's terminals, or a first one. */
export async function openTerminals(memory: Memory): Promise<void> {
  titles.value = memory.terminalTitles;
  last = memory.activeTerminal;
  let known: TerminalInfo[] = [];
  try {
    const answer = await callJson<{ terminals: TerminalInfo[] }>("GET", `${sessionPath}/terminals`);
    known = answer.terminals;
  } catch (error) {
    sayFailure("The terminals cannot be listed", error);
  }
  const names = known.map((info) => info.name).filter(isForPeople);
  if (names.length === 0) names.push("main");
  for (const name of names.sort(byAge).slice(0, MAX_TABS)) {
    if (!closedHere.has(name)) add(name);
  }
  tabs.value = [...tabs.value].sort((a, b) => byAge(a.name, b.name)); // an event may have been first
  const open = new Set(tabs.value.map((tab) => tab.name));
  const gone = memory.terminalGroups.flatMap((group) => group.names).filter((name) => !open.has(name));
  groups.value = gone.reduce(apart, memory.terminalGroups);
  showOne();
  if (activeTab.peek() === null) openNew();
}

/** Show the terminal that was shown last, or the oldest, if none is shown. */
function showOne(): void {
  if (activeTab.peek() !== null) return;
  const names = tabs.peek().map((tab) => tab.name).sort(byAge);
  const name = names.find((each) => each === last) ?? names[0];
  if (name !== undefined) activate(name);
}

export function titleOf(name: string): string {
  return titles.value[name] ?? name;
}

export function activate(name: string): void {
  if (activeName.value === name) return;
  activeName.value = name;
  searchOpen.value = false;
  remember({ active_terminal: name });
}

/** Go to a neighbour of the active tab. */
export function activateNext(step: number): void {
  const all = tabs.value;
  const index = all.findIndex((tab) => tab.name === activeName.value);
  const next = all[(index + step + all.length) % all.length];
  if (next) activate(next.name);
}

/** Open a terminal in a tab of its own. */
export function openNew(): void {
  const name = addNew();
  if (name) activate(name);
}

/** Open a terminal beside the active one. */
export function split(direction: Group["direction"]): void {
  const beside = activeName.value;
  if (beside === null) return;
  if ((shownGroup.value?.names.length ?? 1) >= MAX_SHOWN) {
    say(`At most ${MAX_SHOWN} terminals are shown together.`, "bad");
    return;
  }
  const name = addNew();
  if (!name) return;
  regroup(together(groups.value, beside, name, direction));
  activate(name);
}

/** Show a terminal in a tab of its own again. */
export function showAlone(name: string): void {
  regroup(apart(groups.value, name));
}

export function regroup(next: Group[]): void {
  groups.value = next;
  remember({ terminal_groups: groupsPatch(next) });
}

function addNew(): string | null {
  if (tabs.value.length >= MAX_TABS) {
    say(`A session has at most ${MAX_TABS} terminals.`, "bad");
    return null;
  }
  const name = freeName(tabs.value.map((tab) => tab.name));
  closedHere.delete(name);
  add(name);
  return name;
}

/** Show terminals that another browser opened. */
export function noteNames(names: unknown): void {
  if (!Array.isArray(names)) return;
  for (const name of names) {
    if (typeof name !== "string" || !isForPeople(name)) continue;
    if (!closedHere.has(name) && tabs.value.length < MAX_TABS) {
      add(name);
    }
  }
  showOne();
}

export function rename(name: string, title: string): void {
  const trimmed = title.trim().slice(0, 40);
  const next = { ...titles.value };
  if (trimmed === "" || trimmed === name) delete next[name];
  else next[name] = trimmed;
  titles.value = next;
  tabs.value.find((tab) => tab.name === name)?.view.rename(titleOf(name));
  remember({ terminal_titles: { [name]: next[name] ?? null } });
}

/** Close a terminal and end what runs in it. */
export async function close(name: string): Promise<void> {
  const tab = tabs.value.find((each) => each.name === name);
  if (!tab) return;
  const over = tab.link.phase.value.at === "over";
  if (
    !over &&
    !(await confirm(
      `Close terminal “${titleOf(name)}”?`,
      "Programs that run in it are ended.",
      "Close terminal",
    ))
  ) {
    return;
  }
  closedHere.add(name);
  remove(tab);
  await hangUp(name);
}

/** Show a terminal as a tab, once: the list, events and people name it in any order. */
function add(name: string): void {
  if (tabs.peek().some((tab) => tab.name === name)) return;
  const view = new TerminalView(titleOf(name), () => (outputCount.value += 1));
  const link = new TerminalLink(
    name,
    `coditect.terminal.${sessionId}.${name}`,
    view,
    null,
  );
  tabs.value = [...tabs.value, { name, view, link }];
}

/** Begin to draw and to talk; the pane calls it whenever the view comes onto the page. */
export function startTab(tab: TerminalTab): void {
  if (tab.view.opened) return;
  tab.view.open({
    type: (data) => typed(tab, data),
    reply: (data) => tab.link.reply(data),
    resize: (size) => tab.link.resize(size),
    use: () => tab.link.use(),
  });
  tab.link.start();
}

function typed(tab: TerminalTab, data: Uint8Array): void {
  const { at } = tab.link.phase.value;
  if (at !== "over" && at !== "failed" && at !== "replaced") {
    tab.link.type(data);
  } else if (data.length === 1 && data[0] === 13) {
    void begin(tab, at === "over");
  }
}

async function begin(tab: TerminalTab, newShell: boolean): Promise<void> {
  if (newShell) await hangUp(tab.name);
  tab.link.reopen();
}

async function hangUp(name: string): Promise<void> {
  try {
    await call("DELETE", `${sessionPath}/terminals/${encodeURIComponent(name)}`);
  } catch {
    // It is gone already, or its container is: either way it does not run any more.
  }
}

function remove(tab: TerminalTab): void {
  const all = tabs.value;
  const index = all.indexOf(tab);
  const rest = all.filter((each) => each !== tab);
  tabs.value = rest;
  tab.link.close();
  tab.view.dispose();
  if (titles.value[tab.name]) rename(tab.name, "");
  const neighbours = groupOf(groups.value, tab.name)?.names ?? [];
  if (neighbours.length > 0) regroup(apart(groups.value, tab.name));
  if (rest.length === 0) openNew();
  else if (activeName.value === tab.name) {
    const beside = neighbours.find((name) => name !== tab.name);
    activate(beside ?? rest[Math.min(index, rest.length - 1)]!.name);
  }
}

function isForPeople(name: string): boolean {
  return !name.startsWith(AUTOMATION_PREFIX);
}

function byAge(a: string, b: string): number {
  if (a === b) return 0;
  if (a === "main" || b === "main") return a === "main" ? -1 : 1;
  return a.localeCompare(b, undefined, { numeric: true });
}
