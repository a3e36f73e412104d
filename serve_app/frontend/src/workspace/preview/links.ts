/** The targets of links and images in a text of the workspace. Pure. */

export type Target =
  | { to: "web"; href: string }
  | { to: "heading"; slug: string }
  | { to: "file"; path: string; slug: string }
  | { to: "nowhere" };

const NOWHERE: Target = { to: "nowhere" };

/** Where `href` leads from the file at `from`; "/" is the workspace. */
export function targetOf(from: string, href: string): Target {
  if (/^(https?:|mailto:)/i.test(href)) return { to: "web", href };
  if (/^([a-z][a-z0-9+.-]*:|\/\/)/i.test(href) || href.includes("\\")) return NOWHERE;
  const [place = "", hash = ""] = href.split("#", 2);
  try {
    const slug = decodeURIComponent(hash).toLowerCase();
    const path = decodeURIComponent(place.split("?", 1)[0]!);
    if (path === "") return slug === "" ? NOWHERE : { to: "heading", slug };
    const found = normal(path.startsWith("/") ? path : `${from.slice(0, from.lastIndexOf("/") + 1)}${path}`);
    return found === null ? NOWHERE : { to: "file", path: found, slug };
  } catch {
    return NOWHERE; // percent signs that encode nothing
  }
}

/** The name by which links call a heading, as the usual hosts of Markdown make it. */
export function slugOf(heading: string): string {
  return heading.trim().toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "").replace(/\s/g, "-");
}

/** A path without "." and ".."; null for one that leads out of the workspace, or to itself. */
function normal(path: string): string | null {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) return null;
  }
  return parts.length === 0 ? null : parts.join("/");
}
