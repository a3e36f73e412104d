/** What a search answers, and how people are told of it. Pure. */

export interface Page {
  matches: { path: string; type?: string | null; line?: number | null; text?: string | null }[];
  stopped_by: Stopped | null;
  next: string | null;
}

/** What ended a search before all was looked through. */
export type Stopped = "limit" | "time" | "bytes";

export interface Line {
  path: string;
  /** From 1. */
  line: number;
  text: string;
}

export interface Found<T> {
  matches: T[];
  stoppedBy: Stopped | null;
}

export function lineOf({ path, line, text }: Page["matches"][number]): Line {
  return { path, line: line ?? 1, text: (text ?? "").replace(/\r$/, "") };
}

/** Say what was found; `what` has no number before it. */
export function summary(stoppedBy: Stopped | null, what: string | null): string {
  if (stoppedBy === null) return what ?? "Not found";
  if (stoppedBy === "limit") return `The first ${what ?? "of them"}: there are more`;
  const why = stoppedBy === "time" ? "it took too long" : "there is too much to read";
  return `${what ?? "Nothing"} so far: ${why}, and not all was looked through`;
}
