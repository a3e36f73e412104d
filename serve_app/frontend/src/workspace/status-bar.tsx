import { computed, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { formatBytes, formatClock, formatMilliseconds, shortId } from "../lib/format";
import { eventsConnected } from "./session/events-link";
import { describe, describeDisk, explainUnarchived, isNearlyFull, isWorthSaying, table } from "../lib/usage";
import { PHASES, type Say } from "./session/phases";
import { keepAwake, lastSave, phase, resume, session, user } from "./session/session";
import { SizeItem } from "./terminals/sizing";
import { activeTab } from "./terminals/terminals";
import "./status-bar.css";

const now = signal(performance.now());
const online = signal(navigator.onLine);
addEventListener("online", () => (online.value = true));
addEventListener("offline", () => (online.value = false));

const connection = computed<Say>(() => {
  if (!online.value) return { dot: "bad", text: "Offline" };
  const link = activeTab.value?.link;
  const at = link?.phase.value;
  if (!link || !at || at.at === "over" || at.at === "replaced" || at.at === "failed") {
    return eventsConnected.value
      ? { dot: "ok", text: "Connected" }
      : { dot: "warn", text: "Connecting…" };
  }
  if (at.at === "attached") return { dot: "ok", text: "Connected" };
  if (at.at === "waiting") {
    const left = Math.ceil((link.retryAt - now.value) / 1000);
    return { dot: "bad", text: left > 1 ? `Reconnecting in ${left} s` : "Reconnecting…" };
  }
  return link.known
    ? { dot: "bad", text: "Reconnecting…" }
    : { dot: "warn", text: "Connecting…" };
});

const MAX_ECHO_MILLISECONDS = 2000;

export function StatusBar() {
  const waiting = activeTab.value?.link.phase.value.at === "waiting";
  useEffect(() => {
    if (!waiting) return;
    const timer = setInterval(() => (now.value = performance.now()), 250);
    return () => clearInterval(timer);
  }, [waiting]);
  const state = PHASES[phase.value] ?? { dot: "" as const, text: phase.value };
  const tab = activeTab.value;
  const measured = tab?.link.echo.value ?? null;
  // What takes longer is a program that had nothing to say, not the way there and back.
  const echo = measured !== null && measured < MAX_ECHO_MILLISECONDS ? measured : null;
  const container = session.value?.container_id;
  const save = lastSave.value;
  return (
    <footer class="status-bar">
      <span class="status-item" role="status" data-testid="connection-state">
        <span class={`dot ${connection.value.dot}`} />
        {connection.value.text}
      </span>
      {waiting && (
        <button type="button" class="status-action" onClick={() => tab?.link.hurry()}>
          Try now
        </button>
      )}
      <span
        class="status-item"
        role="status"
        data-testid="session-state"
        title={session.value?.failure ?? undefined}
      >
        <span class={`dot ${state.dot}`} />
        {state.text}
      </span>
      {(phase.value === "hibernated" || phase.value === "failed") && (
        <button type="button" class="status-action" onClick={() => void resume()}>
          Resume
        </button>
      )}
      {phase.value === "ready" && <Sleep />}
      <span class="status-item wide-only" title={container ? `Container ${container}` : undefined}>
        {container ? shortId(container) : "no container"}
      </span>
      <NotArchived />
      <span class="status-gap" />
      <DiskItem />
      <UsageItem />
      {save && (
        <span class="status-item" title={save.path ?? undefined}>
          saved v{save.version}
        </span>
      )}
      {echo !== null && (
        <span class="status-item wide-only" title="From a key to its echo">
          {formatMilliseconds(echo)}
        </span>
      )}
      {tab && tab.link.unsent.value > 0 && (
        <span class="status-item" role="status" title="Ctrl+C in the terminal drops the rest">
          pasting, {formatBytes(tab.link.unsent.value)} left
        </span>
      )}
      {tab && <SizeItem tab={tab} />}
    </footer>
  );
}

/** Files that are not archived: said as long as there are any. */
function NotArchived() {
  const unarchived = session.value?.unarchived;
  if (!isWorthSaying(unarchived)) return null;
  const { paths, resource } = unarchived;
  const why = resource ? ": quota" : "";
  return (
    <span
      class="status-item"
      role="status"
      data-testid="unarchived"
      title={explainUnarchived(unarchived)}
    >
      <span class="dot bad" />
      {paths === 1 ? `1 file not archived${why}` : `${paths} files not archived${why}`}
    </span>
  );
}

/** The use of the container's disk, where it has one of its own. */
function DiskItem() {
  const disk = session.value?.disk;
  if (!disk) return null;
  const { text, title, nearly } = describeDisk(disk);
  return (
    <span class={`status-item ${nearly ? "" : "wide-only"}`} data-testid="disk" title={title}>
      {nearly && <span class="dot warn" />}
      {text}
    </span>
  );
}

/** The use by the user's files, quietly; all other use in its title. */
function UsageItem() {
  const usage = user.value?.usage;
  if (!usage) return null;
  const nearly = isNearlyFull(usage);
  return (
    <span class={`status-item ${nearly ? "" : "wide-only"}`} data-testid="usage" title={table(usage)}>
      {nearly && <span class="dot warn" />}
      {describe("file_bytes", usage.file_bytes)}
    </span>
  );
}

const KEEP_AWAKE_SECONDS = 8 * 3600;

/** The time of the session's sleep, and the veto: shown only while there is something to say. */
function Sleep() {
  const idle = session.value?.idle;
  const seconds = Date.now() / 1000;
  const veto = idle?.keep_awake_until ?? null;
  if (veto !== null && veto > seconds) {
    return (
      <button
        type="button"
        class="status-action"
        data-testid="let-sleep"
        title="Let the session sleep again when it is idle"
        onClick={() => void keepAwake(0)}
      >
        {`Awake until ${formatClock(seconds, veto)} ×`}
      </button>
    );
  }
  if (!idle || idle.sleeps_at === null) return null;
  return (
    <button
      type="button"
      class="status-action"
      data-testid="keep-awake"
      title="Nothing happens here. Keep the session awake for 8 hours"
      onClick={() => void keepAwake(KEEP_AWAKE_SECONDS)}
    >
      {`Sleeps at ${formatClock(seconds, idle.sleeps_at)} · keep awake`}
    </button>
  );
}
