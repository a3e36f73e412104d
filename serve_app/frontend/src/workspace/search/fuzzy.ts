/** How well a few typed letters fit a path, as quick-open ranks what it found. Pure. */

export interface Match {
  /** Larger is better. */
  score: number;
  /** Places of the path's characters that were typed, in order. */
  places: number[];
}

const AFTER_A_BREAK = 12;
const IN_A_ROW = 8;
const IN_THE_NAME = 6;
const SAME_CASE = 1;
const PER_CHARACTER_OF_PATH = 0.05;

/** Match every character of `query` in its order, spaces aside; null when one is missing. */
export function match(query: string, path: string): Match | null {
  const wanted = query.replace(/\s+/g, "");
  return matchLower(wanted, wanted.toLowerCase(), path);
}

function matchLower(wanted: string, small: string, path: string): Match | null {
  const lower = path.toLowerCase();
  const name = path.lastIndexOf("/") + 1;
  // The name alone is what people mean, if all of it is there; only else the folders.
  if (fits(small, 0, lower, name)) return place(wanted, small, path, lower, name, name);
  return name > 0 && fits(small, 0, lower, 0) ? place(wanted, small, path, lower, name, 0) : null;
}

/** The best places of characters that are known to be there, each after the one before. */
function place(wanted: string, small: string, path: string, lower: string, name: number, from: number): Match {
  const places: number[] = [];
  let score = -path.length * PER_CHARACTER_OF_PATH;
  let previous = -2;
  for (let typed = 0; typed < small.length; typed++) {
    const next = lower.indexOf(small[typed]!, Math.max(previous + 1, from));
    // A beginning of a word, further on, is meant rather than a letter somewhere within one.
    const begun = next === previous + 1 ? next : beginning(path, lower, small[typed]!, next);
    const chosen = begun > next && fits(small, typed + 1, lower, begun + 1) ? begun : next;
    if (chosen === previous + 1) score += IN_A_ROW;
    if (isBeginning(path, chosen)) score += AFTER_A_BREAK;
    if (chosen >= name) score += IN_THE_NAME;
    if (path[chosen] === wanted[typed]) score += SAME_CASE;
    places.push(chosen);
    previous = chosen;
  }
  return { score, places };
}

function beginning(path: string, lower: string, character: string, from: number): number {
  for (let at = from; at >= 0; at = lower.indexOf(character, at + 1)) {
    if (isBeginning(path, at)) return at;
  }
  return -1;
}

function isBeginning(path: string, at: number): boolean {
  if (at === 0) return true;
  const before = path[at - 1]!;
  if ("/_. -".includes(before)) return true;
  const here = path[at]!;
  return here >= "A" && here <= "Z" && !(before >= "A" && before <= "Z");
}

/** True if the characters from `typed` on are to be found in their order from a place on. */
function fits(small: string, typed: number, lower: string, from: number): boolean {
  let at = from;
  for (let index = typed; index < small.length; index++) {
    const next = lower.indexOf(small[index]!, at);
    if (next < 0) return false;
    at = next + 1;
  }
  return true;
}

/** The paths that fit, the best first; those that fit equally well by their length and name. */
export function ranked(query: string, paths: readonly string[], limit: number): { path: string; places: number[] }[] {
  const wanted = query.replace(/\s+/g, "");
  const small = wanted.toLowerCase();
  const fitting: { path: string; score: number; places: number[] }[] = [];
  for (const path of paths) {
    const found = matchLower(wanted, small, path);
    if (found) fitting.push({ path, score: found.score, places: found.places });
  }
  return fitting
    .sort((a, b) => b.score - a.score || a.path.length - b.path.length || (a.path < b.path ? -1 : 1))
    .slice(0, limit)
    .map(({ path, places }) => ({ path, places }));
}
