import { formatAgo } from "../../lib/format";
import { Icon } from "../../ui/icons";
import { compareTexts } from "./diff";
import { closeFile, toUnicode } from "./editors";
import { codeOf, type FileTab } from "../files/tabs";
import { keepMine, takeTheirs } from "../session/outside";
import { describeFormat } from "./text-file";

/** Facts to know of the file before typing on: one line, the gravest first. */
export function EditorNotice({ tab }: { tab: FileTab }) {
  if (tab.state.value.is !== "open") return null;
  if (tab.outside.value) return <OutsideNotice tab={tab} />;
  if (tab.restored.value !== null) return <RestoredNotice tab={tab} at={tab.restored.value} />;
  const format = tab.format.value;
  if (format && format.encoding !== "utf-8") {
    return (
      <div class="editor-notice" role="status" data-testid="editor-notice">
        <span>This file is not UTF-8. It is shown and saved as {describeFormat(format)}.</span>
        <button type="button" class="button small" onClick={() => toUnicode(tab)}>
          Convert to UTF-8
        </button>
      </div>
    );
  }
  return null;
}

function OutsideNotice({ tab }: { tab: FileTab }) {
  const now = tab.outside.value;
  const code = codeOf(tab);
  if (!now || !code) return null;
  const { file } = now;
  if (!file) {
    return (
      <div class="editor-notice warn" role="alert" data-testid="editor-notice">
        <span>The file is not there any more, or is no text any more. This is what it was.</span>
        <button type="button" class="button small" onClick={() => keepMine(tab)}>
          Keep this text
        </button>
        <button type="button" class="button small" onClick={() => void closeFile(tab)}>
          Close
        </button>
      </div>
    );
  }
  const text =
    tab.restored.value !== null
      ? "Your unsaved changes are back, but the file has changed since."
      : "The file has changed, and you have changes that are not saved.";
  return (
    <div class="editor-notice warn" role="alert" data-testid="editor-notice">
      <span>{text}</span>
      <button
        type="button"
        class="button small"
        onClick={() =>
          compareTexts(tab.path.value, { name: "As it is now", text: file.text }, { name: "Yours", text: code.text })
        }
      >
        Compare
      </button>
      <button type="button" class="button small" onClick={() => keepMine(tab)}>
        Keep mine
      </button>
      <button type="button" class="button small" onClick={() => takeTheirs(tab)}>
        Take the file’s
      </button>
    </div>
  );
}

function RestoredNotice({ tab, at }: { tab: FileTab; at: number }) {
  return (
    <div class="editor-notice" role="status" data-testid="editor-notice">
      <span>Changes that were not saved are back ({formatAgo(Date.now() / 1000, at)}).</span>
      <button
        type="button"
        class="icon-button small"
        aria-label="Dismiss"
        onClick={() => {
          tab.restored.value = null;
        }}
      >
        <Icon name="close" />
      </button>
    </div>
  );
}

