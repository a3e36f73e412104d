/** Looking for text in all files of the workspace. Loaded when it is first asked for. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { explain } from "../../lib/api";
import { Icon } from "../../ui/icons";
import { openAt } from "../editor/editors";
import { baseName, parent, shown } from "../files/paths";
import { drawerOpen, narrowPane } from "../layout";
import { findLines } from "./find";
import { searchAsked, sidePanel } from "./open";
import { type Found, type Line, summary } from "./output";
import "./panel.css";

const QUIET_MILLISECONDS = 350;
const LEAST_CHARACTERS = 2;

interface State {
  query: string;
  found: Found<Line> | null;
  problem: string | null;
  busy: boolean;
}

const EMPTY: State = { query: "", found: null, problem: null, busy: false };
/** Outlives the panel, so that one comes back to what one looked for. */
let kept = EMPTY;

export default function SearchPanel() {
  const input = useRef<HTMLInputElement>(null);
  const [state, setState] = useState(kept);
  const change = (part: Partial<State>) => setState((before) => (kept = { ...before, ...part }));
  useLayoutEffect(() => {
    input.current?.focus();
    input.current?.select();
  }, [searchAsked.value]);
  useEffect(() => {
    const q = state.query;
    if (q.trim().length < LEAST_CHARACTERS) return change({ found: null, problem: null, busy: false });
    const gone = new AbortController();
    const timer = setTimeout(() => {
      change({ busy: true });
      findLines(q, gone.signal).then(
        (found) => change({ found, problem: null, busy: false }),
        (error) => gone.signal.aborted || change({ problem: explain(error), busy: false }),
      );
    }, QUIET_MILLISECONDS);
    return () => {
      clearTimeout(timer);
      gone.abort();
    };
  }, [state.query]);
  const groups = byFile(state.found?.matches ?? []);
  const close = () => {
    sidePanel.value = "files";
  };
  return (
    <section
      class="tree-panel"
      aria-label="Search in files"
      data-testid="search"
      onKeyDown={(event) => {
        if (event.key === "Escape") close();
      }}
    >
      <header class="panel-bar">
        <h2>Search</h2>
        <button type="button" class="icon-button small" aria-label="Show the files" title="Show the files" onClick={close}>
          <Icon name="close" />
        </button>
      </header>
      <div class="search-field">
        <input
          ref={input}
          class="input"
          type="search"
          aria-label="Text to look for"
          placeholder="Text in files"
          spellcheck={false}
          autocomplete="off"
          autocapitalize="off"
          value={state.query}
          onInput={(event) => change({ query: event.currentTarget.value })}
        />
        <p class="search-note" role="status">
          {state.problem ?? note(state, groups.length)}
        </p>
      </div>
      <div class="search-results">
        {groups.map(([path, lines]) => (
          <section key={path}>
            <h3 title={shown(path)}>
              <Icon name="file" />
              <span>{shown(baseName(path))}</span>
              <span class="dim">{shown(parent(path))}</span>
            </h3>
            {lines.map((each) => (
              <button key={each.line} type="button" class="search-line" onClick={() => go(each, state.query)}>
                <span class="dim">{each.line}</span>
                <Marked text={each.text} query={state.query} />
              </button>
            ))}
          </section>
        ))}
      </div>
    </section>
  );
}

function go({ path, line }: Line, query: string): void {
  drawerOpen.value = false;
  narrowPane.value = "editor";
  void openAt(path, line, query);
}

function note({ query, found, busy }: State, files: number): string {
  if (query.trim().length < LEAST_CHARACTERS) return `At least ${LEAST_CHARACTERS} characters`;
  if (busy || found === null) return "Looking…";
  const count = found.matches.length;
  const lines = `${count.toLocaleString()} ${count === 1 ? "line" : "lines"} in ${files} ${files === 1 ? "file" : "files"}`;
  return summary(found.stoppedBy, count === 0 ? null : lines);
}

function byFile(lines: readonly Line[]): [string, Line[]][] {
  const files = new Map<string, Line[]>();
  for (const each of lines) {
    const known = files.get(each.path);
    if (known) known.push(each);
    else files.set(each.path, [each]);
  }
  return [...files];
}

const LEAD = 24;

/** A line with what was looked for standing out; a long one from shortly before it. */
function Marked({ text, query }: { text: string; query: string }) {
  const at = text.toLowerCase().indexOf(query.toLowerCase());
  if (at < 0) return <code>{text.trimStart()}</code>;
  const lead = text.slice(0, at).trimStart();
  return (
    <code>
      {lead.length > LEAD ? `…${lead.slice(-LEAD)}` : lead}
      <mark>{text.slice(at, at + query.length)}</mark>
      {text.slice(at + query.length)}
    </code>
  );
}
