/** One CodeMirror editor. This module and the languages are loaded when the first file is opened. */

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import {
  bracketMatching,
  foldGutter,
  foldKeymap,
  HighlightStyle,
  indentOnInput,
  indentUnit,
  syntaxHighlighting,
} from "@codemirror/language";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import {
  crosshairCursor,
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
  rectangularSelection,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { lineBreak } from "./files";
import { languageOf } from "./languages";

const look = EditorView.theme({
  "&": { height: "100%", color: "var(--text)", backgroundColor: "var(--surface)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", fontSize: "var(--code-size)", lineHeight: "1.5" },
  ".cm-content": { caretColor: "var(--accent)", paddingBlock: "8px" },
  ".cm-cursor, .cm-dropCursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground":
    { background: "var(--selection)" },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--surface-3) 45%, transparent)" },
  ".cm-gutters": { color: "var(--text-3)", backgroundColor: "var(--surface)", border: "none" },
  ".cm-activeLineGutter": { color: "var(--text)", backgroundColor: "transparent" },
  ".cm-matchingBracket, &.cm-focused .cm-matchingBracket": {
    backgroundColor: "var(--accent-soft)",
    outline: "1px solid var(--accent)",
  },
  ".cm-selectionMatch": { backgroundColor: "var(--accent-soft)" },
  ".cm-searchMatch": { backgroundColor: "var(--warn-soft)", outline: "1px solid var(--warn)" },
  ".cm-searchMatch-selected": { backgroundColor: "var(--selection)" },
  ".cm-panels": { color: "var(--text)", backgroundColor: "var(--surface-2)" },
  ".cm-panels.cm-panels-bottom": { borderTop: "1px solid var(--border)" },
  ".cm-panels.cm-panels-top": { borderBottom: "1px solid var(--border)" },
  ".cm-textfield": { border: "1px solid var(--border-strong)", backgroundColor: "var(--surface)" },
  ".cm-button": {
    border: "1px solid var(--border-strong)",
    background: "var(--surface)",
    borderRadius: "4px",
  },
  ".cm-tooltip": { border: "1px solid var(--border)", backgroundColor: "var(--surface)" },
  ".cm-tooltip-autocomplete > ul > li[aria-selected]": {
    color: "var(--accent-text)",
    background: "var(--accent)",
  },
  ".cm-foldPlaceholder": { color: "var(--text-2)", background: "var(--surface-3)", border: "none" },
});

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], color: "var(--syntax-keyword)" },
  { tag: [tags.string, tags.special(tags.string), tags.regexp], color: "var(--syntax-string)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--syntax-number)" },
  { tag: tags.comment, color: "var(--syntax-comment)", fontStyle: "italic" },
  {
    tag: [tags.function(tags.variableName), tags.function(tags.propertyName), tags.labelName],
    color: "var(--syntax-name)",
  },
  { tag: [tags.definition(tags.variableName), tags.attributeName], color: "var(--syntax-name)" },
  { tag: [tags.typeName, tags.className, tags.namespace], color: "var(--syntax-type)" },
  { tag: [tags.tagName, tags.meta, tags.invalid], color: "var(--syntax-tag)" },
  { tag: tags.heading, color: "var(--syntax-name)", fontWeight: "700" },
  { tag: tags.strong, fontWeight: "700" },
  { tag: tags.emphasis, fontStyle: "italic" },
  { tag: [tags.link, tags.url], color: "var(--syntax-name)", textDecoration: "underline" },
]);

const basics: Extension = [
  lineNumbers(),
  highlightActiveLineGutter(),
  highlightSpecialChars(),
  history(),
  foldGutter(),
  drawSelection(),
  EditorState.allowMultipleSelections.of(true),
  indentOnInput(),
  bracketMatching(),
  closeBrackets(),
  autocompletion(),
  rectangularSelection(),
  crosshairCursor(),
  highlightActiveLine(),
  highlightSelectionMatches(),
  search({ top: true }),
  syntaxHighlighting(colours),
  look,
];

export interface CodeViewOptions {
  name: string;
  text: string;
  onChange: () => void;
  onSave: () => void;
}

export class CodeView {
  private readonly view: EditorView;
  private readonly language = new Compartment();
  private scroll: { top: number; left: number } = { top: 0, left: 0 };

  constructor(private readonly options: CodeViewOptions) {
    this.view = new EditorView({ state: this.fresh(options.text) });
    this.view.scrollDOM.addEventListener("scroll", () => {
      if (!this.view.dom.isConnected) return;
      this.scroll = { top: this.view.scrollDOM.scrollTop, left: this.view.scrollDOM.scrollLeft };
    });
    void this.loadLanguage();
  }

  get element(): HTMLElement {
    return this.view.dom;
  }

  get text(): string {
    return this.view.state.sliceDoc();
  }

  /** An immutable value that is the same as long as the text is. */
  get version(): unknown {
    return this.view.state.doc;
  }

  /** Whether two versions are of equal text. */
  equals(version: unknown): boolean {
    return this.view.state.doc.eq(version as typeof this.view.state.doc);
  }

  /** Replace everything, as when the file was read again; the place is kept where it can be. */
  replace(text: string): void {
    const { head } = this.view.state.selection.main;
    this.view.setState(this.fresh(text));
    this.view.dispatch({ selection: { anchor: Math.min(head, this.view.state.doc.length) } });
    void this.loadLanguage();
  }

  /** Call after the element came back to the page: browsers forget where it was scrolled to. */
  shown(): void {
    this.view.requestMeasure();
    this.view.scrollDOM.scrollTo(this.scroll);
  }

  focus(): void {
    this.view.focus();
  }

  dispose(): void {
    this.view.destroy();
  }

  private fresh(text: string): EditorState {
    return EditorState.create({
      doc: text,
      extensions: [
        EditorState.lineSeparator.of(lineBreak(text)),
        indentUnit.of(/^\t/m.test(text) ? "\t" : /^ {2}\S/m.test(text) ? "  " : "    "),
        keymap.of([
          { key: "Mod-s", preventDefault: true, run: () => (this.options.onSave(), true) },
          ...closeBracketsKeymap,
          ...defaultKeymap,
          ...searchKeymap,
          ...historyKeymap,
          ...foldKeymap,
          ...completionKeymap,
          indentWithTab,
        ]),
        basics,
        EditorView.contentAttributes.of({ "aria-label": `Text of ${this.options.name}` }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) this.options.onChange();
        }),
        this.language.of([]),
      ],
    });
  }

  private async loadLanguage(): Promise<void> {
    const load = languageOf(this.options.name);
    if (!load) return;
    try {
      this.view.dispatch({ effects: this.language.reconfigure(await load()) });
    } catch {
      // A colourless file is still a file.
    }
  }
}
