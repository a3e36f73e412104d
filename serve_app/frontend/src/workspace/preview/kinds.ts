/** The kinds of files that can be shown as something else than text, by their names. Pure. */

/** Images and PDF are shown instead of text; the others are text that can be seen both ways. */
export type Media = "image" | "pdf";
export type Rendered = "svg" | "markdown" | "table";

const RENDERED: Record<string, Rendered> = {
  svg: "svg",
  md: "markdown",
  markdown: "markdown",
  csv: "table",
  tsv: "table",
};

/** The only types that bytes of a workspace are ever given in this page: none of them runs anything. */
const MEDIA_TYPES: Record<string, string> = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
  avif: "image/avif",
  bmp: "image/bmp",
  ico: "image/x-icon",
  pdf: "application/pdf",
};

export function renderedAs(path: string): Rendered | null {
  return own(RENDERED, extension(path));
}

export function mediaOf(path: string): Media | null {
  const type = mediaType(path);
  return type === null ? null : type === "application/pdf" ? "pdf" : "image";
}

export function mediaType(path: string): string | null {
  return own(MEDIA_TYPES, extension(path));
}

/** An address of an SVG image. Not a blob: opened in a tab of its own it would be a document of this origin. */
export function svgUrl(text: string): string {
  return `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text.toWellFormed())}`;
}

function extension(path: string): string {
  return /\.([^./]+)$/.exec(path)?.[1]?.toLowerCase() ?? "";
}

function own<T>(of: Record<string, T>, name: string): T | null {
  return Object.hasOwn(of, name) ? of[name]! : null;
}
