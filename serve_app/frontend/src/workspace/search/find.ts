/** Looking for files by name and by what is in them, where the files are. A search that is given up is ended. */

import { callJson } from "../../lib/api";
import { sessionPath } from "../session/session";
import { type Found, type Line, lineOf, type Page } from "./output";

/** What an answer holds at most. */
const PAGE = 1000;
const MAX_PAGES = 25;
const SECONDS = 20;

/** The paths of all files, more of them page by page, as many as are listed in a while. Throws ApiError. */
export async function* listFiles(signal: AbortSignal): AsyncGenerator<Found<string>> {
  const deadline = Date.now() + SECONDS * 1000;
  const paths: string[] = [];
  let next: string | null = "";
  for (let pages = 1; next !== null; pages++) {
    const page: Page = await ask({ q: "^", regex: "true", after: next }, signal);
    for (const { path, type } of page.matches) if (type !== "directory") paths.push(path);
    next = pages < MAX_PAGES && Date.now() < deadline ? page.next : null;
    yield { matches: [...paths], stoppedBy: next === null ? page.stopped_by : null };
  }
}

/** The first lines that hold a text, in the letters' own case if there is a capital in it. Throws ApiError. */
export async function findLines(text: string, signal: AbortSignal): Promise<Found<Line>> {
  const query: Record<string, string> = { q: text, kind: "content" };
  if (text !== text.toLowerCase()) query["case"] = "true";
  const page = await ask(query, signal);
  return { matches: page.matches.map(lineOf), stoppedBy: page.stopped_by };
}

function ask(query: Record<string, string>, signal: AbortSignal): Promise<Page> {
  const parameters = new URLSearchParams({ limit: String(PAGE), ...query });
  return callJson<Page>("GET", `${sessionPath}/search?${parameters}`, { signal });
}
