/** CodeMirror's view of a difference; loaded when the first one is looked at. */

import { MergeView, unifiedMergeView } from "@codemirror/merge";
import { EditorState, type Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { shownText } from "./code-view";

const COLLAPSE = { margin: 3, minSize: 6 };
/** Above this a difference is shown coarsely rather than late. */
const SCAN = { scanLimit: 500, timeout: 1000 };

const look = EditorView.theme({
  "&.cm-merge-a .cm-changedLine, .cm-deletedChunk": { backgroundColor: "var(--bad-soft)" },
  "&.cm-merge-b .cm-changedLine, .cm-insertedLine": { backgroundColor: "var(--accent-soft)" },
  "&.cm-merge-a .cm-changedText, .cm-deletedChunk .cm-deletedText": { background: "var(--removed)" },
  "&.cm-merge-b .cm-changedText": { background: "var(--added)" },
  ".cm-collapsedLines": {
    color: "var(--text-2)",
    background: "var(--surface-2)",
    "&::before, &::after": { content: '""' },
  },
});

/** Show what differs, in two columns or `together` in one. Destroy what it returns. */
export function showDifference(
  host: HTMLElement,
  path: string,
  before: string,
  after: string,
  together: boolean,
): { destroy(): void } {
  const extensions: Extension[] = [
    shownText,
    look,
    EditorView.lineWrapping,
    EditorState.readOnly.of(true),
    EditorView.editable.of(false),
    EditorView.contentAttributes.of({ tabindex: "0", "aria-label": `Text of ${path}` }),
  ];
  if (!together) {
    return new MergeView({
      parent: host,
      a: { doc: before, extensions },
      b: { doc: after, extensions },
      collapseUnchanged: COLLAPSE,
      diffConfig: SCAN,
    });
  }
  return new EditorView({
    parent: host,
    doc: after,
    extensions: [
      ...extensions,
      unifiedMergeView({
        original: before,
        mergeControls: false,
        collapseUnchanged: COLLAPSE,
        diffConfig: SCAN,
      }),
    ],
  });
}
