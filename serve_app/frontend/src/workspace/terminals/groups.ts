/** Terminals that are shown together, side by side or one above the other. Pure. */

export interface Group {
  direction: "rows" | "columns";
  /** In the order in which they are shown; each terminal is in one group at most. */
  names: string[];
  /** The part of the space that each has; together 1. */
  shares: number[];
}

export const MAX_SHOWN = 4;
const LEAST_SHARE = 0.1;

export function groupOf(groups: readonly Group[], name: string | null): Group | null {
  return groups.find((group) => name !== null && group.names.includes(name)) ?? null;
}

/** Show `added` behind `beside`, in the latter's group or a new one. A group that is full is as it was. */
export function together(
  groups: readonly Group[],
  beside: string,
  added: string,
  direction: Group["direction"],
): Group[] {
  const others = apart(groups, added);
  const group = groupOf(others, beside) ?? { direction, names: [beside], shares: [1] };
  if (group.names.length >= MAX_SHOWN) return [...groups];
  const at = group.names.indexOf(beside);
  const half = group.shares[at]! / 2;
  const grown: Group = {
    direction: group.names.length === 1 ? direction : group.direction,
    names: group.names.toSpliced(at + 1, 0, added),
    shares: group.shares.toSpliced(at, 1, half, half),
  };
  return [...others.filter((each) => each !== group), grown];
}

/** Take a terminal out of its group; who is left has its space, and one alone is no group. */
export function apart(groups: readonly Group[], name: string): Group[] {
  return groups
    .map((group) => {
      const at = group.names.indexOf(name);
      if (at < 0) return group;
      const shares = group.shares.toSpliced(at, 1);
      const sum = shares.reduce((all, share) => all + share, 0);
      return { ...group, names: group.names.toSpliced(at, 1), shares: shares.map((share) => share / sum) };
    })
    .filter((group) => group.names.length > 1);
}

/** Move the border behind a group's terminal to `place`, 0 to 1 of the whole. */
export function resized(group: Group, index: number, place: number): Group {
  const before = group.shares.slice(0, index).reduce((all, share) => all + share, 0);
  const both = group.shares[index]! + group.shares[index + 1]!;
  const least = Math.min(LEAST_SHARE, both / 2);
  const first = Math.min(Math.max(place - before, least), both - least);
  return { ...group, shares: group.shares.toSpliced(index, 2, first, both - first) };
}

/** The place of the border behind a group's terminal. */
export function border(group: Group, index: number): number {
  return group.shares.slice(0, index + 1).reduce((all, share) => all + share, 0);
}

/** Read stored groups, whoever wrote them; what does not fit is left out. */
export function readGroups(stored: unknown): Group[] {
  const seen = new Set<string>();
  return (Array.isArray(stored) ? stored : []).flatMap((each: unknown) => {
    const { direction, names, shares } = (each ?? {}) as Record<string, unknown>;
    if (!Array.isArray(names) || names.length < 2 || names.length > MAX_SHOWN) return [];
    if (names.some((name) => typeof name !== "string" || seen.has(name))) return [];
    if (new Set(names).size !== names.length) return [];
    names.forEach((name: string) => seen.add(name));
    return [{ direction: direction === "rows" ? "rows" : "columns", names, shares: readShares(shares, names.length) }];
  });
}

function readShares(stored: unknown, count: number): number[] {
  const sound =
    Array.isArray(stored) &&
    stored.length === count &&
    stored.every((share) => typeof share === "number" && share >= LEAST_SHARE / 2 && share < 1);
  const shares: number[] = sound ? stored : Array(count).fill(1);
  const sum = shares.reduce((all, share) => all + share, 0);
  return shares.map((share) => share / sum);
}

export function groupsPatch(groups: readonly Group[]): unknown[] {
  return groups.map((group) => ({
    ...group,
    shares: group.shares.map((share) => Math.round(share * 1000) / 1000),
  }));
}
