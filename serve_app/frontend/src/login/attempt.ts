import { ApiError } from "../lib/api";

/** The meaning of a failed sign-in for the person at the form. Pure. */
export interface Verdict {
  text: string;
  kind: "bad" | "warn";
  /** Seconds before the form may be sent again; null: at once. */
  waitSeconds: number | null;
  /** True if the page sends the form again by itself after the wait. */
  automatic: boolean;
}

const DEFAULT_BUSY_SECONDS = 3;
const DEFAULT_LIMIT_SECONDS = 30;

export function judge(error: unknown): Verdict {
  if (!(error instanceof ApiError)) return plain("Something went wrong in this page. Reload it.");
  const after = error.retryAfter === null ? null : Math.ceil(error.retryAfter);
  switch (error.status) {
    case 0:
      return { ...plain(error.message), waitSeconds: 5, automatic: true, kind: "warn" };
    case 401:
      return plain("Email or password is wrong.");
    case 403:
      return plain("This account is disabled. Ask an administrator.");
    case 400:
    case 413:
    case 422:
      return plain("Enter an email address and a password.");
    case 429:
      return {
        text: "Too many tries.",
        kind: "bad",
        waitSeconds: after ?? DEFAULT_LIMIT_SECONDS,
        automatic: false,
      };
    case 502:
    case 503:
    case 504:
      return {
        text: "The server is busy opening other workspaces.",
        kind: "warn",
        waitSeconds: Math.max(after ?? DEFAULT_BUSY_SECONDS, 1),
        automatic: true,
      };
    default:
      return plain(`The server failed (${error.status}): ${error.message}`);
  }
}

/** The target after signing in: a path of this server, or null for the user's own workspace. */
export function safeNext(next: string | null): string | null {
  if (!next || !next.startsWith("/") || /^\/[/\\]/.test(next) || /[\u0000-\u001f\\]/.test(next)) {
    return null;
  }
  return next === "/" ? null : next;
}

function plain(text: string): Verdict {
  return { text, kind: "bad", waitSeconds: null, automatic: false };
}
