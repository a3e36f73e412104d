import { useLayoutEffect, useRef } from "preact/hooks";
import { formatBytes } from "../../lib/format";
import { openFile } from "../editor/editors";
import * as files from "../files/files";
import { slugOf, targetOf } from "./links";
import { mediaOf, mediaType, renderedAs, svgUrl } from "./kinds";
import { toElements } from "./markdown";

const MAX_IMAGES = 60;
const MAX_IMAGE = 8 << 20;

/** A Markdown text as it reads; its links open files here and the web elsewhere. */
export default function MarkdownView({ path, text }: { path: string; text: string }) {
  const host = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const elements = toElements(text);
    const gone = new AbortController();
    for (const link of elements.querySelectorAll("a")) lead(link, path);
    const images = [...elements.querySelectorAll("img")];
    const urls: string[] = [];
    void fill(images.slice(0, MAX_IMAGES), path, urls, gone.signal);
    host.current!.replaceChildren(elements);
    return () => {
      gone.abort();
      urls.forEach((url) => URL.revokeObjectURL(url));
    };
  }, [path, text]);
  const follow = (event: MouseEvent) => {
    const link = (event.target as HTMLElement).closest("a");
    const target = link && targetOf(path, link.dataset["address"] ?? "");
    if (!target || target.to === "nowhere" || target.to === "web") return;
    event.preventDefault();
    if (target.to === "file" && target.path !== path) void openFile(target.path, true);
    else headingOf(host.current!, target.slug)?.scrollIntoView({ block: "start" });
  };
  return <div ref={host} class="markdown" onClick={follow} />;
}

function lead(link: HTMLAnchorElement, path: string): void {
  const target = targetOf(path, link.dataset["address"] ?? "");
  if (target.to === "web") {
    link.href = target.href;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  } else if (target.to !== "nowhere") link.href = "#"; // so that it can be reached and pressed
}

/** Show the workspace's own images, one after another; others are named, since this page asks nobody else. */
async function fill(images: HTMLImageElement[], path: string, urls: string[], gone: AbortSignal): Promise<void> {
  for (const image of images) {
    const address = image.dataset["address"];
    if (address === undefined) continue; // it brings its own bytes
    const target = targetOf(path, address);
    if (target.to !== "file") {
      name(image, address);
      continue;
    }
    try {
      const type = mediaOf(target.path) === "image" ? mediaType(target.path) : null;
      const vector = renderedAs(target.path) === "svg";
      if (!type && !vector) throw new Error("This is no image that can be shown.");
      const found = await files.readBytes(target.path, MAX_IMAGE, gone);
      if (found.kind === "large") throw new Error(`It is too large (${formatBytes(found.size)}).`);
      if (vector) image.src = svgUrl(await found.blob.text());
      else urls.push((image.src = URL.createObjectURL(found.blob.slice(0, undefined, type!))));
    } catch {
      if (gone.aborted) return;
      name(image, address);
    }
  }
}

function name(image: HTMLImageElement, address: string): void {
  const note = document.createElement("span");
  note.className = "image-name";
  note.textContent = image.alt || "image";
  note.title = `Not shown: ${address}`;
  image.replaceWith(note);
}

function headingOf(host: HTMLElement, slug: string): Element | undefined {
  return [...host.querySelectorAll("h1, h2, h3, h4, h5, h6")].find((each) => slugOf(each.textContent) === slug);
}
