/**
 * Which windows of this browser are open, so that what one has not saved is not taken for another's.
 *
 * A window has an id that outlives its reloads, and holds a lock (Web Locks) of that name as long as it
 * lives. Where there are no locks (pages that are neither HTTPS nor localhost) all others count as gone.
 */

const PREFIX = "coditect-window-";
const KEPT_AS = "coditect-window";
/** The page before a reload lets go of its lock within this; a copied tab has to wait for it in vain. */
const HANDOVER_MILLISECONDS = 1000;

export interface Windows {
  mine: string;
  /** The others that are open. */
  others: ReadonlySet<string>;
}

let known: Promise<Windows> | null = null;

/** This window and the others, as of the first call. */
export function windows(): Promise<Windows> {
  known ??= look();
  return known;
}

async function look(): Promise<Windows> {
  const kept = read();
  if (!("locks" in navigator)) {
    return { mine: kept ?? write(newId()), others: new Set() };
  }
  // A tab that was copied has its original's id, which the original holds.
  const mine = kept !== null && (await hold(kept)) ? kept : write(newId());
  if (mine !== kept) await hold(mine);
  const { held = [] } = await navigator.locks.query();
  const ids = held.flatMap(({ name }) => (name?.startsWith(PREFIX) ? [name.slice(PREFIX.length)] : []));
  return { mine, others: new Set(ids.filter((id) => id !== mine)) };
}

/** Hold a window's lock from now on; false when another one holds it. */
function hold(id: string): Promise<boolean> {
  const signal = AbortSignal.timeout(HANDOVER_MILLISECONDS);
  return new Promise((resolve) => {
    navigator.locks
      .request(PREFIX + id, { signal }, () => {
        resolve(true);
        return new Promise<never>(() => undefined); // until the page goes
      })
      .catch(() => resolve(false));
  });
}

function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function read(): string | null {
  try {
    return sessionStorage.getItem(KEPT_AS);
  } catch {
    return null; // a browser that keeps nothing
  }
}

function write(id: string): string {
  try {
    sessionStorage.setItem(KEPT_AS, id);
  } catch {
    // Then it lasts as long as the page.
  }
  return id;
}
