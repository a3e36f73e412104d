/** What the programs that look for files print. Pure. */

export interface Line {
  path: string;
  /** From 1. */
  line: number;
  text: string;
}

export interface Found<T> {
  matches: T[];
  /** True if there are more than were looked for. */
  truncated: boolean;
}

/** Paths, each ended by NUL; what follows the last one was cut off. */
export function listedPaths(output: string): string[] {
  return output.split("\0").slice(0, -1).filter(Boolean);
}

/** Lines of `path NUL number ":" text`; others are pieces of names with line breaks in them. */
export function foundLines(output: string): Line[] {
  return output.split("\n").flatMap((each) => {
    const found = /^([^\0]+)\0(\d+):(.*)$/s.exec(each);
    return found ? [{ path: found[1]!, line: Number(found[2]), text: found[3]!.replace(/\r$/, "") }] : [];
  });
}
