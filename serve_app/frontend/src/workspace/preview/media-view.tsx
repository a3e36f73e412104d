import { useEffect, useState } from "preact/hooks";
import { explain } from "../../lib/api";
import { formatBytes } from "../../lib/format";
import { Icon } from "../../ui/icons";
import { sayFailure } from "../../ui/toasts";
import { openAsText } from "../editor/editors";
import * as files from "../files/files";
import type { FileTab } from "../files/tabs";
import { baseName } from "../files/paths";
import { type Media, mediaType } from "./kinds";
import { ImageView } from "./image-view";

const MAX_BYTES = 64 << 20;
const PDF_SIGNATURE = "%PDF-";
/** Bytes before the signature that readers of PDF put up with. */
const PDF_SEARCHED = 1024;

interface Loaded {
  url: string;
  size: number;
}

/** An image or a PDF of the workspace; it is read anew whenever the tab's state is. */
export function MediaView({ tab, kind }: { tab: FileTab; kind: Media }) {
  const [loaded, setLoaded] = useState<Loaded | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const state = tab.state.value;
  const path = tab.path.value;
  useEffect(() => {
    const gone = new AbortController();
    read(tab, kind, gone.signal).then(
      (next) => {
        setLoaded(next);
        setProblem(null);
      },
      (error) => {
        if (!gone.signal.aborted) setProblem(explain(error));
      },
    );
    return () => gone.abort();
  }, [state]);
  // The old picture stays until the next one is there.
  useEffect(() => () => void (loaded && URL.revokeObjectURL(loaded.url)), [loaded]);
  if (problem !== null) return <Problem tab={tab} text={problem} />;
  if (!loaded) {
    return (
      <p class="pane-hint">
        <span class="spinner" aria-hidden="true" /> Reading…
      </p>
    );
  }
  if (kind === "pdf") {
    if (navigator.pdfViewerEnabled === false) return <Problem tab={tab} text="This browser shows no PDF by itself." />;
    // Browsers refuse their viewer in a sandboxed frame. What it shows is its own, apart from this page, and the type
    // is fixed above: it is never a document of this origin.
    return <iframe class="preview-pdf" src={`${loaded.url}#navpanes=0`} title={baseName(path)} />;
  }
  return (
    <ImageView
      url={loaded.url}
      name={baseName(path)}
      size={loaded.size}
      onBroken={() => setProblem("This is no image that the browser can show.")}
    />
  );
}

async function read(tab: FileTab, kind: Media, signal: AbortSignal): Promise<Loaded> {
  const path = tab.path.value;
  const found = await files.readBytes(path, MAX_BYTES, signal);
  if (found.kind === "large") throw new Error(`The file is too large to be shown here (${formatBytes(found.size)}).`);
  if (kind === "pdf") {
    const head = await found.blob.slice(0, PDF_SEARCHED).text();
    if (!head.includes(PDF_SIGNATURE)) throw new Error("This is no PDF.");
  }
  signal.throwIfAborted();
  tab.etag = found.etag;
  const type = kind === "pdf" ? "application/pdf" : (mediaType(path) ?? "image/png");
  return { url: URL.createObjectURL(found.blob.slice(0, undefined, type)), size: found.blob.size };
}

function Problem({ tab, text }: { tab: FileTab; text: string }) {
  return (
    <div class="pane-hint" role="alert">
      <p>{text}</p>
      <div class="preview-choices">
        <button
          type="button"
          class="button"
          onClick={() =>
            void files.download(tab.path.value).catch((error) => sayFailure("The download failed", error))
          }
        >
          <Icon name="download" /> Download
        </button>
        <button type="button" class="button" onClick={() => void openAsText(tab)}>
          Open as text
        </button>
      </div>
    </div>
  );
}
