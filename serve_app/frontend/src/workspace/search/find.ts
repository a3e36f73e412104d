/**
 * Looking for files by name and by what is in them: by `find` and `grep` where the files are, as whoever works
 * there and within the container's own limits. A search that is given up is killed.
 */

import { callJson } from "../../lib/api";
import { sessionPath } from "../session/session";
import { listedPaths, type Found, foundLines, type Line } from "./output";

const SECONDS = 20;
/** Less than what an answer holds of a program's output. */
const MAX_BYTES = 700_000;
const MAX_LINES = 1000;
const MAX_LINES_A_FILE = 50;
const MAX_LINE_BYTES = 800;

/** Folders of tools, that nobody looks into. */
export const LEFT_OUT = [".git", "node_modules", ".venv", "__pycache__", ".cache", ".npm"];

const LIST = `find . -xdev \\( ${LEFT_OUT.map((name) => `-name ${name}`).join(" -o ")} \\) -prune -o \
\\( -type f -o -type l \\) -printf '%P\\0' 2>/dev/null | head -c ${MAX_BYTES}`;
const SEARCH = `grep -rnIF -D skip $2 --null -m ${MAX_LINES_A_FILE} \
${LEFT_OUT.map((name) => `--exclude-dir=${name}`).join(" ")} -e "$1" 2>/dev/null \
| cut -b 1-${MAX_LINE_BYTES} | head -n ${MAX_LINES} | head -c ${MAX_BYTES}`;

interface Answer {
  stdout: string;
  stdout_bytes: number;
  timed_out: boolean;
}

/** The paths of all files, as many as fit into an answer. Throws ApiError. */
export async function listFiles(signal: AbortSignal): Promise<Found<string>> {
  const { stdout, stdout_bytes, timed_out } = await run(["sh", "-c", LIST], signal);
  return { matches: listedPaths(stdout), truncated: timed_out || stdout_bytes >= MAX_BYTES };
}

/** The lines that hold a text, in the letters' own case if there is a capital in it. Throws ApiError. */
export async function findLines(text: string, signal: AbortSignal): Promise<Found<Line>> {
  const anyCase = text === text.toLowerCase() ? "-i" : "-s";
  const { stdout, stdout_bytes, timed_out } = await run(["sh", "-c", SEARCH, "sh", text, anyCase], signal);
  const matches = foundLines(stdout);
  return { matches, truncated: timed_out || stdout_bytes >= MAX_BYTES || matches.length >= MAX_LINES };
}

function run(argv: string[], signal: AbortSignal): Promise<Answer> {
  const json = { argv, timeout_seconds: SECONDS };
  return callJson<Answer>("POST", `${sessionPath}/exec`, { json, signal, timeoutSeconds: SECONDS + 10 });
}
