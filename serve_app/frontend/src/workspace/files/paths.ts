/** Paths inside the workspace: relative, slash-separated, "" is the workspace itself. Pure. */

export function join(directory: string, name: string): string {
  return directory === "" ? name : `${directory}/${name}`;
}

export function parent(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

/** The directories above a path, the outermost, "", first. */
export function outer(path: string): string[] {
  const names = path.split("/").slice(0, -1);
  return ["", ...names.map((_, index) => names.slice(0, index + 1).join("/"))];
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** True if `path` is `directory` or lies below it. */
export function isWithin(path: string, directory: string): boolean {
  return directory === "" || path === directory || path.startsWith(`${directory}/`);
}

/** The paths that lie within no other of them. */
export function topmost(paths: Iterable<string>): string[] {
  const all = [...paths];
  return all.filter((path) => !all.some((other) => other !== path && isWithin(path, other)));
}

/** The place of `path` after `source` was moved to `target`. */
export function moved(path: string, source: string, target: string): string {
  return isWithin(path, source) ? target + path.slice(source.length) : path;
}

/** The reason for which a name cannot be given to a file, or null when it can. Slashes make parents. */
export function nameProblem(name: string): string | null {
  if (name === "" || name.endsWith("/")) return "Enter a name.";
  if (name.startsWith("/")) return "Names are relative to the workspace.";
  if (name.includes("\0")) return "Names cannot hold NUL.";
  if (name.split("/").some((part) => part === "." || part === ".." || part === "")) {
    return "“.”, “..” and empty parts are not names.";
  }
  return null;
}

/** True if a path is UTF-8, as JSON wants it. */
export function isText(path: string): boolean {
  return !/[\ud800-\udfff]/u.test(path);
}

/** A path as people see it: line breaks, other control characters and bytes that are no text are visible. */
export function shown(path: string): string {
  return path.replace(/\n/g, "↵").replace(/[\u0000-\u001f\u007f]|[\ud800-\udfff]/gu, "\ufffd");
}

/**
 * A path in an address: every segment percent-encoded, slashes kept. Lone surrogates U+DC80 to U+DCFF, by which
 * the server sends bytes that are no UTF-8 (PEP 383), become these bytes again.
 */
export function encodePath(path: string): string {
  return path.split("/").map(encodeSegment).join("/");
}

function encodeSegment(segment: string): string {
  const alone = /(?<![\ud800-\udbff])[\udc80-\udcff]/g;
  const bytes = [...segment.matchAll(alone)].map((match) => match[0].charCodeAt(0) - 0xdc00);
  return segment
    .split(alone)
    .map(encodeURIComponent)
    .reduce((all, part, index) => `${all}%${bytes[index - 1]!.toString(16).toUpperCase()}${part}`);
}
