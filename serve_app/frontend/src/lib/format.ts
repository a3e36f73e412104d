/** Numbers and times as people read them. Pure. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

export function formatMilliseconds(milliseconds: number): string {
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/** The time that has passed, in words: `now` and `at` in seconds. */
export function formatAgo(now: number, at: number): string {
  const seconds = Math.max(0, now - at);
  if (seconds < 5) return "now";
  return `${formatSpan(seconds)} ago`;
}

export function formatSpan(seconds: number): string {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** A time of day, with the weekday when it is not within half a day; `now` and `at` in seconds. */
export function formatClock(now: number, at: number, locale?: string, timeZone?: string): string {
  const far = Math.abs(at - now) > 12 * 3600;
  return new Intl.DateTimeFormat(locale, {
    hour: "2-digit",
    minute: "2-digit",
    ...(far ? { weekday: "short" } : {}),
    ...(timeZone ? { timeZone } : {}),
  }).format(at * 1000);
}

export function shortId(id: string | null | undefined): string {
  if (!id) return "–";
  return id.length > 12 ? `${id.slice(0, 10)}…` : id;
}

/** Seconds since 1970 of an API time, which is a number of seconds or an ISO 8601 text. */
export function seconds(time: number | string | null | undefined): number | null {
  if (typeof time === "number") return time;
  if (!time) return null;
  const parsed = Date.parse(time);
  return Number.isNaN(parsed) ? null : parsed / 1000;
}
