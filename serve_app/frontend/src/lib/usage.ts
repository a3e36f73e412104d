/** A user's use and limits, in words. Pure. */

import { formatBytes } from "./format";

export interface Used {
  used: number;
  limit: number | null;
}

export type Resource = "file_bytes" | "files" | "journal_bytes" | "containers" | "sessions";
export type Usage = Record<Resource, Used>;

/** Use and limit of a workspace on its container's disk. */
export interface Disk {
  bytes: Used;
  files: Used;
}

/** A path that is left out, and why. */
export interface LeftOut {
  path: string;
  reason: string;
}

/** The part of a workspace that is not archived; `resource`: the quota that is a reason, if one is. */
export interface Unarchived {
  resource: string | null;
  paths: number;
  size: number;
  left_out?: LeftOut[];
}

export const RESOURCES: readonly { name: Resource; label: string }[] = [
  { name: "file_bytes", label: "Bytes of files" },
  { name: "files", label: "Files and directories" },
  { name: "journal_bytes", label: "Terminal output" },
  { name: "containers", label: "Containers" },
  { name: "sessions", label: "Sessions" },
];

const NEARLY = 0.9;

/** True if so much is used that it should be shown. Output never is: the oldest goes by itself. */
export function isNearlyFull(usage: Usage): boolean {
  return (["file_bytes", "files"] as const).some((name) => {
    const { used, limit } = usage[name];
    return limit !== null && used >= NEARLY * limit;
  });
}

/** A container's disk in words, all of it in `title`; nearly full is worth saying everywhere. */
export function describeDisk({ bytes, files }: Disk): { text: string; title: string; nearly: boolean } {
  const nearly = [bytes, files].some(({ used, limit }) => limit !== null && used >= NEARLY * limit);
  return {
    text: `Disk ${describe("file_bytes", bytes)}`,
    title: `This container's disk: ${describe("file_bytes", bytes)}, files: ${describe("files", files)}`,
    nearly,
  };
}

export function amount(resource: Resource, value: number): string {
  return resource.endsWith("_bytes") ? formatBytes(value) : String(value);
}

export function describe(resource: Resource, { used, limit }: Used): string {
  if (limit === null) return `${amount(resource, used)}, no limit`;
  return `${amount(resource, used)} of ${amount(resource, limit)}`;
}

/** All of it, a line each. */
export function table(usage: Usage): string {
  return RESOURCES.map(({ name, label }) => `${label}: ${describe(name, usage[name])}`).join("\n");
}

const REASONS: Record<string, string> = {
  quota: "quota",
  unreadable: "no permission to read",
  too_large: "too large",
  path_too_long: "path too long",
  changing: "changes all the time",
};
const NAMED = 10;

/** True if anything is not archived that people expect to be: what is excluded is not. */
export function isWorthSaying(unarchived: Unarchived | null | undefined): unarchived is Unarchived {
  return (unarchived?.paths ?? 0) > 0;
}

/** The files that are not archived, and the remedy. */
export function explainUnarchived({ resource, paths, size, left_out }: Unarchived): string {
  const what = paths === 1 ? "1 file is" : `${paths} files are`;
  const lacks = resource === "files" ? "number of files" : "bytes of files";
  const why = resource ? `: your quota of ${lacks} is used up` : "";
  const until = resource ? ", until files are deleted or the quota is raised" : "";
  const named = (left_out ?? []).filter(({ reason }) => reason in REASONS).slice(0, NAMED);
  return (
    `${what} not archived (${formatBytes(size)})${why}. What is not archived is in this container` +
    ` only${until}.` +
    named.map(({ path, reason }) => `\n${path}: ${REASONS[reason]}`).join("")
  );
}

/** The value to send for a typed limit: null for none, undefined for what is no amount. */
export function parseLimit(text: string): number | null | undefined {
  if (text.trim() === "") return null;
  const found = /^(\d+)\s*([kmgt]?)(i?b)?$/i.exec(text.trim());
  if (!found) return undefined;
  const power = ["", "k", "m", "g", "t"].indexOf(found[2]!.toLowerCase());
  return Number(found[1]) * 1024 ** power;
}
