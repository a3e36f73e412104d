/** The kept versions of a file: looked at, compared with what it is now, put back. */

import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { ApiError, explain } from "../../lib/api";
import { formatBytes } from "../../lib/format";
import { Dialog } from "../../ui/dialog";
import { Icon } from "../../ui/icons";
import { say, sayFailure } from "../../ui/toasts";
import { Diff, type Side } from "../editor/diff";
import { codeOf, fileTabs } from "./tabs";
import * as files from "./files";
import { lookOutside } from "../session/outside";
import { shown } from "./paths";
import { noteSave } from "../session/session";
import { touched } from "./tree-store";
import "./history.css";

const PAGE = 100;
const NO_TEXT = "This version is no text that can be shown. It can be downloaded.";

const open = signal<string | null>(null);
/** True if a version is compared with the one before it, and not with the file as it is now. */
const againstBefore = signal(false);

export function openHistory(path: string): void {
  open.value = path;
}

export function HistoryDialog() {
  const path = open.value;
  if (path === null) return null;
  const close = () => {
    open.value = null;
  };
  return (
    <Dialog title={`Versions of ${shown(path)}`} size="full" onClose={close}>
      <History key={path} path={path} onClose={close} />
    </Dialog>
  );
}

function History({ path, onClose }: { path: string; onClose: () => void }) {
  const [versions, setVersions] = useState<files.Version[]>([]);
  const [more, setMore] = useState(true);
  const [chosen, setChosen] = useState<files.Version | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const load = async (before?: number) => {
    try {
      const found = await files.history(path, before);
      setVersions((known) => (before === undefined ? found : [...known, ...found]));
      setMore(found.length >= PAGE);
      // The newest version is most often what the file is: the one before it is what is looked for.
      const texts = found.filter((each) => each.type === "file");
      if (before === undefined) setChosen(texts[1] ?? texts[0] ?? null);
    } catch (error) {
      const none = error instanceof ApiError && error.status === 404;
      setProblem(none ? "No version of this file is kept yet." : explain(error));
    }
  };
  useEffect(() => void load(), []);
  if (problem) return <p class="dialog-text">{problem}</p>;
  if (versions.length === 0) return <p class="dialog-text">Reading…</p>;
  return (
    <div class="history">
      <div class="history-list" role="group" aria-label="Versions">
        {versions.map((each) => (
          <button
            key={each.version}
            type="button"
            class="history-version"
            aria-pressed={chosen?.version === each.version}
            disabled={each.type !== "file"}
            onClick={() => setChosen(each)}
          >
            <span class="strong">{new Date(each.at * 1000).toLocaleString()}</span>
            <span class="dim">
              v{each.version} · {each.type === "file" ? formatBytes(each.size) : each.type}
            </span>
          </button>
        ))}
        {more && (
          <button type="button" class="button small" onClick={() => void load(versions.at(-1)?.version)}>
            Older versions
          </button>
        )}
      </div>
      {chosen && (
        <Chosen
          key={chosen.version}
          path={path}
          version={chosen}
          before={versions.find((each) => each.version < chosen.version && each.type === "file") ?? null}
          onRestored={onClose}
        />
      )}
    </div>
  );
}

interface ChosenProps {
  path: string;
  version: files.Version;
  /** The one before it, as far as the list goes; null: there is none. */
  before: files.Version | null;
  onRestored: () => void;
}

function Chosen({ path, version, before, onRestored }: ChosenProps) {
  const [sides, setSides] = useState<[Side, Side] | string | null>(null);
  const [busy, setBusy] = useState(false);
  const since = againstBefore.value ? before : null;
  useEffect(() => {
    let gone = false;
    setSides(null);
    const read = since ? between(path, since.version, version.version) : bothSides(path, version.version);
    const show = (next: [Side, Side] | string) => gone || setSides(next);
    read.then(show, (error) => show(explain(error)));
    return () => {
      gone = true;
    };
  }, [since?.version]);
  const putBack = async () => {
    setBusy(true);
    try {
      const receipt = await files.restore(path, version.version);
      noteSave(path, receipt.version);
      say(`“${path}” is as it was at v${version.version}. What it was until now is kept, too.`);
      touched(path);
      const tab = fileTabs.value.find((each) => each.path.value === path);
      if (tab) await lookOutside(tab);
      onRestored();
    } catch (error) {
      setBusy(false);
      sayFailure("The version was not put back", error);
    }
  };
  return (
    <div class="history-chosen">
      <div class="history-tools">
        <div class="segments" role="group" aria-label={`Compare v${version.version} with`}>
          <button type="button" aria-pressed={since === null} onClick={() => (againstBefore.value = false)}>
            Until now
          </button>
          <button
            type="button"
            aria-pressed={since !== null}
            disabled={before === null}
            title={before ? `What changed from v${before.version} to v${version.version}` : "It is the first one"}
            onClick={() => (againstBefore.value = true)}
          >
            Since the one before
          </button>
        </div>
        <span class="status-gap" />
        <button
          type="button"
          class="button small"
          onClick={() =>
            void files
              .download(path, version.version)
              .catch((error) => sayFailure("The download failed", error))
          }
        >
          <Icon name="download" /> Download
        </button>
        <button
          type="button"
          class="button small primary"
          data-testid="restore-version"
          disabled={busy}
          onClick={() => void putBack()}
        >
          Restore this version
        </button>
      </div>
      {sides === null ? (
        <p class="dialog-text">Reading…</p>
      ) : typeof sides === "string" ? (
        <p class="dialog-text">{sides}</p>
      ) : (
        <Diff path={path} before={sides[0]} after={sides[1]} />
      )}
    </div>
  );
}

/** Two versions, the older one first; or why they cannot be compared. */
async function between(path: string, older: number, newer: number): Promise<[Side, Side] | string> {
  const [before, after] = await Promise.all([files.readVersion(path, older), files.readVersion(path, newer)]);
  if (before.kind !== "text" || after.kind !== "text") return NO_TEXT;
  return [
    { name: `v${older}`, text: before.file.text },
    { name: `v${newer}`, text: after.file.text },
  ];
}

/** A version and the present text, which may be unsaved; or why they cannot be compared. */
async function bothSides(path: string, version: number): Promise<[Side, Side] | string> {
  const past = await files.readVersion(path, version);
  if (past.kind !== "text") return NO_TEXT;
  const tab = fileTabs.value.find((each) => each.path.value === path);
  const code = tab && codeOf(tab);
  const before = { name: `v${version}`, text: past.file.text };
  if (code) return [before, { name: tab.dirty.value ? "Yours, not saved" : "Now", text: code.text }];
  const now = await files.read(path).catch((error: unknown) => {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  });
  return [before, { name: "Now", text: now?.kind === "text" ? now.file.text : "" }];
}
