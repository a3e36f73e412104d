import { useEffect, useState } from "preact/hooks";
import { Scroll } from "../ui/scroll";
import { formatMilliseconds, formatSpan } from "../lib/format";
import {
  containers,
  type Distribution,
  failure,
  health,
  type Health,
  overview,
  overviewAt,
  type PoolStats,
  sessions,
} from "./data";

type Status = Health["status"];
const TONES: Record<Status, string> = { ok: "ok", degraded: "warn", down: "bad" };
const WORDS: Record<Status, string> = { ok: "All is well", degraded: "Degraded", down: "Down" };

/** The whole server in one line: how it is, what is wrong, how fresh this is. */
export function Summary() {
  const now = useClock();
  const known = overview.value;
  const age = known?.age_seconds == null ? null : known.age_seconds + (now - overviewAt.value);
  const status = health.value?.status;
  const wrong = failure.value;
  return (
    <div class="summary" role="status" aria-live="off">
      <span class={`pill ${wrong ? "bad" : status ? TONES[status] : ""}`}>
        <span class={`dot ${wrong ? "bad" : status ? TONES[status] : ""}`} />
        {wrong ? "Not all can be read" : status ? WORDS[status] : "Reading…"}
      </span>
      {wrong && <span class="bad-text">{wrong}</span>}
      {known && (
        <span data-testid="supervision">
          <Count value={known.orphans} one="orphan" many="orphans" />,{" "}
          <Count value={known.stuck.length} one="stuck" many="stuck" />,{" "}
          <Count value={known.ownerless} one="without owner" many="without owner" />
          {age !== null && `, checked ${formatSpan(Math.max(age, 0))} ago`}
        </span>
      )}
    </div>
  );
}

function Count({ value, one, many }: { value: number; one: string; many: string }) {
  return (
    <span class={value > 0 ? "bad-text" : ""}>
      {value} {value === 1 ? one : many}
    </span>
  );
}

export function Figures() {
  const bySession = overview.value?.sessions ?? {};
  const live = sessions.value?.length;
  const ready = bySession["ready"];
  const asleep = bySession["hibernated"];
  const running = containers.value?.filter((each) => each.status === "ready").length;
  const warm = containers.value?.filter((each) => each.status === "warm").length;
  const recovering = (bySession["recovering"] ?? 0) + (bySession["starting"] ?? 0);
  return (
    <dl class="figures">
      <Figure name="Sessions" value={live} />
      <Figure name="Ready" value={ready} />
      <Figure name="Coming up" value={overview.value ? recovering : undefined} />
      <Figure name="Asleep" value={asleep} />
      <Figure name="Containers in use" value={running} />
      <Figure name="Warm containers" value={warm} />
    </dl>
  );
}

function Figure({ name, value }: { name: string; value: number | undefined }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value ?? "–"}</dd>
    </div>
  );
}

export function HealthSection() {
  const known = health.value;
  return (
    <section class="card" aria-labelledby="health">
      <header>
        <h2 id="health">Health</h2>
      </header>
      {known ? (
        <ul class="health">
          {Object.entries(known.components).map(([name, part]) => (
            <li key={name}>
              <span class={`dot ${TONES[part.status]}`} />
              <span class="strong">{name.replaceAll("_", " ")}</span>
              <span class="health-detail">
                {part.detail ?? (part.status === "ok" ? "" : part.status)}
                {part.status !== "ok" && part.vital && " · vital"}
              </span>
              <span class="number">{formatMilliseconds(part.latency_ms)}</span>
              <span class="visually-hidden">{part.status}</span>
            </li>
          ))}
        </ul>
      ) : (
        <p class="empty">Reading…</p>
      )}
    </section>
  );
}

/** Things that this machine denies the server, walls between users first of all. */
export function WantingSection() {
  const wanting = overview.value?.wanting ?? [];
  if (wanting.length === 0) return null;
  return (
    <section class="card" aria-labelledby="wanting">
      <header>
        <h2 id="wanting">Wanting on this machine</h2>
      </header>
      <ul class="wanting">
        {wanting.map((lack) => (
          <li key={lack.name}>
            <p>
              <span class="dot warn" /> <span class="strong">{lack.name}</span>: {lack.found}
            </p>
            {lack.advice && <p class="remedy">Remedy: {lack.advice}</p>}
          </li>
        ))}
      </ul>
    </section>
  );
}

export function PoolSection() {
  const pools = Object.entries(overview.value?.pools ?? {});
  return (
    <section class="card" aria-labelledby="pool">
      <header>
        <h2 id="pool">Warm pool</h2>
      </header>
      {pools.length === 0 && <p class="empty">{overview.value ? "No pool answers." : "Reading…"}</p>}
      {pools.map(([name, stats]) => (
        <div key={name} class="pool">
          {pools.length > 1 && <h3>{name}</h3>}
          <Level name="Actors" stats={stats} prefix="warm_actors" />
          <Level name="Containers" stats={stats} prefix="warm_containers" />
          <dl class="facts">
            <Fact name="Claims" value={count(stats, "claims_total")} />
            <Fact name="Failed claims" value={count(stats, "claim_failures_total")} />
            <Fact name="Waiting" value={count(stats, "claims_waiting")} />
            <Fact name="Turned away" value={count(stats, "claims_busy_total")} />
            <Fact name="Mean claim" value={mean(stats, "claim_seconds")} />
            <Fact name="Mean launch" value={mean(stats, "container_launch_seconds")} />
            <Fact name="Failed launches" value={count(stats, "launch_failures_total")} />
          </dl>
        </div>
      ))}
    </section>
  );
}

function Level({ name, stats, prefix }: { name: string; stats: PoolStats; prefix: string }) {
  const ready = count(stats, `${prefix}_ready`) ?? 0;
  const starting = count(stats, `${prefix}_starting`) ?? 0;
  const target = count(stats, `${prefix}_target`) ?? 0;
  const whole = Math.max(target, ready + starting, 1);
  return (
    <div class="level">
      <div class="level-text">
        <span class="strong">{name}</span>
        <span>
          {ready} ready{starting > 0 && `, ${starting} starting`} of {target}
        </span>
      </div>
      <div class="level-bar" aria-hidden="true">
        <span class="ready" style={{ width: `${(100 * ready) / whole}%` }} />
        <span class="starting" style={{ width: `${(100 * starting) / whole}%` }} />
      </div>
    </div>
  );
}

function Fact({ name, value }: { name: string; value: number | string | undefined }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value ?? "–"}</dd>
    </div>
  );
}

export function ActorsSection() {
  const actors = overview.value?.actors ?? [];
  return (
    <section class="card" aria-labelledby="actors">
      <header>
        <h2 id="actors">Actors</h2>
      </header>
      {actors.length === 0 ? (
        <p class="empty">{overview.value ? "None." : "Reading…"}</p>
      ) : (
        <Scroll label="Actors">
          <table>
            <thead>
              <tr>
                <th>Name</th>
                <th>Status</th>
                <th class="number">Process</th>
                <th class="number">Up</th>
              </tr>
            </thead>
            <tbody>
              {actors.map((actor) => (
                <tr key={actor.name}>
                  <td class="strong">{actor.name}</td>
                  <td>
                    <span class={`badge ${actor.status === "ready" ? "ok" : actor.status === "starting" ? "warn" : "bad"}`}>
                      {actor.status}
                    </span>
                  </td>
                  <td class="number">{actor.pid ?? "–"}</td>
                  <td class="number">
                    {actor.uptime_seconds === null ? "–" : formatSpan(actor.uptime_seconds)}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  );
}

function count(stats: PoolStats, name: string): number | undefined {
  const value = stats[name];
  return typeof value === "number" ? value : undefined;
}

function mean(stats: PoolStats, name: string): string | undefined {
  const value = stats[name] as Distribution | undefined;
  if (!value || typeof value !== "object" || value.count === 0) return undefined;
  return formatMilliseconds((1000 * value.sum) / value.count);
}

function useClock(): number {
  const [now, setNow] = useState(Date.now() / 1000);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now() / 1000), 1000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
