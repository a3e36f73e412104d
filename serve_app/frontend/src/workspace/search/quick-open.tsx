/** Opening a file by a few letters of its path. Loaded when it is first asked for. */

import { useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { explain } from "../../lib/api";
import { Icon } from "../../ui/icons";
import { openFile } from "../editor/editors";
import { activeFile, fileTabs } from "../files/tabs";
import { baseName, parent, shown } from "../files/paths";
import { narrowPane } from "../layout";
import { listFiles } from "./find";
import { ranked } from "./fuzzy";
import { quickOpen } from "./open";
import type { Found } from "./output";
import "./quick-open.css";

const MAX_SHOWN = 50;

/** The paths of the last time, to be looked through while they are listed anew. */
let known: string[] = [];

interface Listed {
  paths: string[];
  note: string | null;
  busy: boolean;
}

async function look(signal: AbortSignal, show: (listed: Listed) => void): Promise<void> {
  let all: Found<string> = { matches: [], stoppedBy: null };
  for await (all of listFiles(signal)) {
    // Those of the last time stand until there are as many again.
    if (all.matches.length >= known.length) show({ paths: (known = all.matches), note: null, busy: true });
  }
  known = all.matches;
  const note = all.stoppedBy && `Only ${known.length.toLocaleString()} files were looked through: there are more`;
  show({ paths: known, note, busy: false });
}

export default function QuickOpen() {
  const element = useRef<HTMLDialogElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const id = useId();
  const [query, setQuery] = useState("");
  const [listed, setListed] = useState<Listed>({ paths: known, note: null, busy: true });
  const [chosen, setChosen] = useState(0);
  useLayoutEffect(() => {
    const before = quickOpen.peek();
    const dialog = element.current!;
    dialog.showModal();
    return () => {
      dialog.close(); // what is behind it takes no focus as long as it is open
      before?.focus();
    };
  }, []);
  useEffect(() => {
    const gone = new AbortController();
    look(gone.signal, setListed).catch(
      (error) => gone.signal.aborted || setListed({ paths: known, note: explain(error), busy: false }),
    );
    return () => gone.abort();
  }, []);
  const others = fileTabs.value.filter((tab) => tab !== activeFile.value).map((tab) => tab.path.value);
  const typed = query.trim();
  const results = useMemo(
    () => (typed === "" ? others.map((path) => ({ path, places: [] })) : ranked(typed, listed.paths, MAX_SHOWN)),
    [typed, listed.paths],
  );
  const close = () => {
    quickOpen.value = null;
  };
  const open = (path: string | undefined) => {
    if (path === undefined) return;
    close();
    narrowPane.value = "editor";
    requestAnimationFrame(() => void openFile(path, true)); // after the dialog has given the focus back
  };
  useLayoutEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }, [chosen]);
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && results.length > 0) setChosen((chosen + step + results.length) % results.length);
    else if (event.key === "Enter") open(results[chosen]?.path);
    else return;
    event.preventDefault();
  };
  return (
    <dialog
      ref={element}
      class="dialog quick-open"
      aria-label="Open a file"
      data-testid="quick-open"
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      onMouseDown={(event) => {
        if (event.target === element.current) close();
      }}
    >
      <div class="quick-open-field">
        <Icon name="search" />
        <input
          class="input"
          role="combobox"
          aria-label="File to open"
          aria-expanded={results.length > 0}
          aria-controls={`${id}-list`}
          aria-activedescendant={results[chosen] ? `${id}-${chosen}` : undefined}
          aria-autocomplete="list"
          placeholder="Letters of a file’s path"
          autofocus
          spellcheck={false}
          autocomplete="off"
          autocapitalize="off"
          value={query}
          onInput={(event) => {
            setQuery(event.currentTarget.value);
            setChosen(0);
          }}
          onKeyDown={onKeyDown}
        />
        {listed.busy && <span class="spinner" aria-hidden="true" />}
      </div>
      <div ref={list} id={`${id}-list`} class="quick-open-list" role="listbox" aria-label="Files">
        {results.map(({ path, places }, index) => (
          <div
            key={path}
            id={`${id}-${index}`}
            class="quick-open-row"
            role="option"
            aria-selected={index === chosen}
            onClick={() => open(path)}
          >
            <Icon name="file" />
            <Marked text={path} from={path.length - baseName(path).length} places={places} />
            <span class="dim">
              <Marked text={path.slice(0, parent(path).length)} from={0} places={places} />
            </span>
          </div>
        ))}
      </div>
      <p class="quick-open-note" role="status">
        {listed.note ?? note(typed, results.length, listed.busy)}
      </p>
    </dialog>
  );
}

function note(query: string, count: number, busy: boolean): string {
  if (query === "") return count > 0 ? "Files that are open" : "Type some letters of a path";
  if (count === 0) return busy ? "Looking…" : "No file has these letters";
  return count === MAX_SHOWN ? `The best ${count}` : `${count} ${count === 1 ? "file" : "files"}`;
}

/** The text from a place on, with the letters that were typed standing out. */
function Marked({ text, from, places }: { text: string; from: number; places: number[] }) {
  const marked = new Set(places);
  return (
    <span>
      {[...text.slice(from)].length === text.length - from
        ? [...text.slice(from)].map((character, index) =>
            marked.has(from + index) ? <b key={index}>{shown(character)}</b> : shown(character),
          )
        : shown(text.slice(from))}
    </span>
  );
}
