/** The user's sessions: go to another, or open a new one. */

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { explain } from "../../lib/api";
import { formatAgo } from "../../lib/format";
import { Dialog } from "../../ui/dialog";
import { PHASES } from "./phases";
import { loadSessions, openNamed, type Session, sessionId, workspaceUrl } from "./session";
import "./switcher.css";

const open = signal(false);

export function openSessions(): void {
  open.value = true;
}

export function SessionsDialog() {
  if (!open.value) return null;
  const close = () => {
    open.value = false;
  };
  return (
    <Dialog title="Sessions" onClose={close}>
      <Sessions />
      <NewSession />
    </Dialog>
  );
}

function Sessions() {
  const [all, setAll] = useState<Session[] | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    loadSessions().then(setAll, (error) => setProblem(explain(error)));
  }, []);
  if (problem) return <p class="dialog-text">{problem}</p>;
  if (!all) return <p class="dialog-text">Reading…</p>;
  const sorted = [...all].sort((a, b) => (a.name ?? "").localeCompare(b.name ?? ""));
  return (
    <ul class="session-list" data-testid="sessions">
      {sorted.map((each) => (
        <SessionLine key={each.session_id} session={each} />
      ))}
    </ul>
  );
}

function SessionLine({ session }: { session: Session }) {
  const state = PHASES[session.status];
  const here = session.session_id === sessionId;
  const content = (
    <>
      <span class={`dot ${state?.dot ?? ""}`} />
      <span class="session-list-name">{session.name ?? session.session_id}</span>
      <span class="dim">
        {here ? "this one" : (state?.text ?? session.status)}
        {!here && session.last_activity && ` · ${formatAgo(Date.now() / 1000, session.last_activity)}`}
      </span>
    </>
  );
  return (
    <li>
      {here ? (
        <span class="session-list-item" aria-current="page">
          {content}
        </span>
      ) : (
        <a class="session-list-item" href={workspaceUrl(session.session_id)}>
          {content}
        </a>
      )}
    </li>
  );
}

function NewSession() {
  const input = useRef<HTMLInputElement>(null);
  const [opening, setOpening] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const send = async () => {
    setOpening(true);
    try {
      await openNamed(input.current?.value.trim() ?? "");
    } catch (error) {
      setProblem(explain(error));
      setOpening(false);
    }
  };
  return (
    <form
      class="new-session"
      onSubmit={(event) => {
        event.preventDefault();
        if (!opening) void send();
      }}
    >
      <label class="field">
        <span>New session</span>
        <input
          ref={input}
          class="input"
          required
          maxLength={63}
          pattern="[A-Za-z0-9][A-Za-z0-9 ._\-]*"
          title="Letters, digits, spaces, dots, dashes and underscores"
          placeholder="Name"
          autocomplete="off"
          data-testid="new-session-name"
        />
      </label>
      <button type="submit" class="button primary" disabled={opening}>
        {opening && <span class="spinner" aria-hidden="true" />}
        Open
      </button>
      {problem && (
        <p class="notice bad" role="alert">
          {problem}
        </p>
      )}
    </form>
  );
}
