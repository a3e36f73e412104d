/** What is shown of a file in place of its text. Loaded when the first one is looked at. */

import { useEffect, useRef, useState } from "preact/hooks";
import { explain } from "../../lib/api";
import { lazy } from "../../ui/lazy";
import * as files from "../files/files";
import { codeOf, type FileTab } from "../files/tabs";
import { baseName } from "../files/paths";
import { ImageView } from "./image-view";
import { renderedAs, svgUrl } from "./kinds";
import { MediaView } from "./media-view";
import { TableView } from "./table-view";
import "./preview.css";

const MarkdownView = lazy(() => import("./markdown-view"));

/** As much of a table that is too large for the editor. */
const PART_BYTES = 1 << 20;

export default function Preview({ tab }: { tab: FileTab }) {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (tab.wantsFocus) host.current?.querySelector<HTMLElement>("[tabindex]")?.focus();
    tab.wantsFocus = false;
  }, [tab]);
  return (
    <div ref={host} class="preview" data-testid="preview">
      <Body tab={tab} />
    </div>
  );
}

function Body({ tab }: { tab: FileTab }) {
  const state = tab.state.value;
  const path = tab.path.value;
  if (state.is === "media") return <MediaView key={tab} tab={tab} kind={state.kind} />;
  if (state.is === "large") return <Beginning key={tab} path={path} />;
  void tab.revision.value; // the text is read anew whenever it has changed
  const text = codeOf(tab)?.text ?? "";
  switch (renderedAs(path)) {
    case "markdown":
      return (
        <div class="preview-scroll" tabIndex={0} role="group" aria-label="Preview">
          <MarkdownView path={path} text={text} />
        </div>
      );
    case "table":
      return <TableView path={path} text={text} />;
    case "svg":
      return <SvgView name={baseName(path)} text={text} />;
    case null:
      return null;
  }
}

/** As an image it neither runs scripts nor asks for anything. */
function SvgView({ name, text }: { name: string; text: string }) {
  const [broken, setBroken] = useState<string | null>(null);
  if (broken === text) return <p class="pane-hint">This is no SVG that the browser can show.</p>;
  const size = new Blob([text]).size;
  return <ImageView url={svgUrl(text)} name={name} size={size} onBroken={() => setBroken(text)} />;
}

function Beginning({ path }: { path: string }) {
  const [text, setText] = useState<string | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    const gone = new AbortController();
    files.readBeginning(path, PART_BYTES, gone.signal).then(setText, (error) => {
      if (!gone.signal.aborted) setProblem(explain(error));
    });
    return () => gone.abort();
  }, [path]);
  if (problem !== null) return <p class="pane-hint">{problem}</p>;
  if (text === null) return <p class="pane-hint">Reading…</p>;
  return <TableView path={path} text={text} cut />;
}
