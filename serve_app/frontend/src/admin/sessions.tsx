import { useState } from "preact/hooks";
import { call } from "../lib/api";
import { formatAgo, seconds, shortId } from "../lib/format";
import { confirm } from "../ui/dialog";
import { Scroll } from "../ui/scroll";
import { say, sayFailure } from "../ui/toasts";
import { emailOf, look, moreSessions, type Session, sessions } from "./data";

const SHOWN = 100;
const LIVES = { active: "active", attached: "attached, at rest", at_rest: "at rest", asleep: "asleep" };

export function SessionsSection() {
  const [filter, setFilter] = useState("");
  const [shown, setShown] = useState(SHOWN);
  const all = sessions.value;
  const wanted = filter.trim().toLowerCase();
  const found = (all ?? []).filter((each) =>
    [each.session_id, each.name, each.status, each.container_id ?? "", emailOf(each.user_id)].some(
      (text) => text.toLowerCase().includes(wanted),
    ),
  );
  return (
    <section class="card" aria-labelledby="sessions">
      <header>
        <h2 id="sessions">
          Sessions <span class="count">{all ? `${all.length}${moreSessions.value ? "+" : ""}` : ""}</span>
        </h2>
        <input
          class="input filter"
          type="search"
          placeholder="Filter"
          aria-label="Filter sessions"
          value={filter}
          onInput={(event) => setFilter(event.currentTarget.value)}
        />
      </header>
      {all === null ? (
        <p class="empty">Reading…</p>
      ) : found.length === 0 ? (
        <p class="empty">{all.length === 0 ? "Nobody has a session yet." : "None matches."}</p>
      ) : (
        <Scroll label="Sessions">
          <table>
            <thead>
              <tr>
                <th>User</th>
                <th>Session</th>
                <th>Phase</th>
                <th>Life</th>
                <th>Container</th>
                <th class="number">Epoch</th>
                <th class="number">Restarts</th>
                <th>Active</th>
                <th>
                  <span class="visually-hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {found.slice(0, shown).map((each) => (
                <SessionRow key={each.session_id} session={each} />
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {found.length > shown && (
        <button type="button" class="button small" onClick={() => setShown(shown + SHOWN)}>
          {found.length - shown} more
        </button>
      )}
    </section>
  );
}

function SessionRow({ session }: { session: Session }) {
  const active = seconds(session.last_activity);
  return (
    <tr>
      <td class="strong">
        <span class="long" title={emailOf(session.user_id)}>
          {emailOf(session.user_id)}
        </span>
      </td>
      <td title={session.session_id}>
        {session.name} <code>{shortId(session.session_id)}</code>
      </td>
      <td title={session.failure ?? undefined}>
        <span class={`badge ${badgeOf(session.status)}`}>{session.status}</span>
      </td>
      <td>{session.life ? LIVES[session.life] : "–"}</td>
      <td title={session.container_id ?? undefined}>
        <code>{shortId(session.container_id)}</code>
      </td>
      <td class="number">{session.epoch}</td>
      <td class="number">{session.restarts}</td>
      <td>{active === null ? "–" : formatAgo(Date.now() / 1000, active)}</td>
      <td class="actions">
        <button
          type="button"
          class="button small"
          disabled={session.status !== "ready"}
          onClick={() => void hibernate(session)}
        >
          Put to sleep…
        </button>
        <button type="button" class="button small danger" onClick={() => void end(session)}>
          End…
        </button>
      </td>
    </tr>
  );
}

function badgeOf(status: string): string {
  if (status === "ready") return "ok";
  if (status === "failed") return "bad";
  return status === "hibernated" || status === "ended" ? "" : "warn";
}

async function hibernate(session: Session): Promise<void> {
  const text = `Programs of ${emailOf(session.user_id)} in “${session.name}” end. Files are kept.`;
  if (!(await confirm("Put this session to sleep?", text, "End programs and sleep"))) return;
  try {
    await call("POST", `${pathOf(session)}/hibernate`, { json: {}, timeoutSeconds: 60 });
    say(`The session of ${emailOf(session.user_id)} goes to sleep.`);
    await look();
  } catch (error) {
    sayFailure("The session cannot be put to sleep", error);
  }
}

async function end(session: Session): Promise<void> {
  const text = `Programs of ${emailOf(session.user_id)} are ended and all files of “${session.name}” are deleted. This cannot be undone.`;
  if (!(await confirm("End this session?", text, "End session and delete files"))) return;
  try {
    await call("DELETE", pathOf(session), { timeoutSeconds: 60 });
    await look();
  } catch (error) {
    sayFailure("The session cannot be ended", error);
  }
}

function pathOf(session: Session): string {
  return `/api/v1/sessions/${encodeURIComponent(session.session_id)}`;
}
