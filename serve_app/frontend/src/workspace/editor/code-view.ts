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
import { highlightSelectionMatches, openSearchPanel, search, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, type Extension, Transaction } from "@codemirror/state";
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
import { languageOf } from "./languages";
import type { TextFile, TextFormat } from "./text-file";

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

/** The look of text, editable or not. */
export const shownText: Extension = [
  lineNumbers(),
  highlightSpecialChars(),
  syntaxHighlighting(colours),
  look,
];

const basics: Extension = [
  shownText,
  highlightActiveLineGutter(),
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
];

export interface CodeViewOptions {
  name: string;
  file: TextFile;
  onChange: () => void;
  onSave: () => void;
}

/** Somebody's place in a text, as offsets. */
export interface Place {
  anchor: number;
  head: number;
  /** The first line that is seen. */
  top: number;
}

export class CodeView {
  private readonly view: EditorView;
  private readonly language = new Compartment();
  private scroll: { top: number; left: number } = { top: 0, left: 0 };
  private lineBreak: TextFormat["lineBreak"];

  constructor(private readonly options: CodeViewOptions) {
    this.lineBreak = options.file.format.lineBreak;
    this.view = new EditorView({ state: this.fresh(options.file.text) });
    this.view.scrollDOM.addEventListener("scroll", () => {
      if (!this.view.dom.isConnected) return;
      this.scroll = { top: this.view.scrollDOM.scrollTop, left: this.view.scrollDOM.scrollLeft };
    });
    void this.loadLanguage();
  }

  get element(): HTMLElement {
    return this.view.dom;
  }

  /** The text with the line breaks of its file. */
  get text(): string {
    const { doc } = this.view.state;
    return doc.sliceString(0, doc.length, this.lineBreak === "mixed" ? "\n" : this.lineBreak);
  }

  /** An immutable value that is the same as long as the text is. */
  get version(): unknown {
    return this.view.state.doc;
  }

  /** True if two versions are of equal text. */
  equals(version: unknown): boolean {
    return this.view.state.doc.eq(version as typeof this.view.state.doc);
  }

  /**
   * Show another text, as when the file has changed. Only what differs is replaced, so that cursor,
   * scrolling and what can be undone stay; `undoable` says whether this can be, too.
   */
  replace({ text, format }: TextFile, undoable: boolean): void {
    if (format.lineBreak !== this.lineBreak) {
      this.lineBreak = format.lineBreak;
      const { head } = this.view.state.selection.main;
      this.view.setState(this.fresh(text));
      this.view.dispatch({ selection: { anchor: Math.min(head, this.view.state.doc.length) } });
      void this.loadLanguage();
      return;
    }
    const before = this.view.state.doc.toString();
    const after = this.view.state.toText(text).toString();
    const { from, to, end } = difference(before, after);
    if (from === to && from === end) return;
    this.view.dispatch({
      changes: { from, to, insert: this.view.state.toText(after.slice(from, end)) },
      annotations: Transaction.addToHistory.of(undoable),
    });
  }

  get place(): Place {
    const { anchor, head } = this.view.state.selection.main;
    // Off the page nothing has a height; the last known place of the scroller still holds.
    const block = this.view.lineBlockAtHeight(this.scroll.top);
    return { anchor, head, top: block.from };
  }

  /** Go to a place, or as near to it as the text allows. */
  goTo({ anchor, head, top }: Place): void {
    const { length } = this.view.state.doc;
    const within = (offset: number) => Math.min(Math.max(offset, 0), length);
    this.view.dispatch({
      selection: { anchor: within(anchor), head: within(head) },
      effects: EditorView.scrollIntoView(within(top), { y: "start", yMargin: 0 }),
    });
  }

  /** Go to a line, from 1, and select `text` if it is there; the line is seen in the middle. */
  goToLine(number: number, text: string): void {
    const { doc } = this.view.state;
    const line = doc.line(Math.min(Math.max(number, 1), doc.lines));
    const at = line.text.toLowerCase().indexOf(text.toLowerCase());
    const anchor = line.from + Math.max(at, 0);
    const head = at < 0 ? anchor : Math.min(anchor + text.length, line.to);
    this.view.dispatch({
      selection: { anchor, head },
      effects: EditorView.scrollIntoView(anchor, { y: "center" }),
    });
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
        // Mixed breaks stay as they are: lines end at line feeds, and carriage returns are characters.
        this.lineBreak === "mixed" ? EditorState.lineSeparator.of("\n") : [],
        indentUnit.of(/^\t/m.test(text) ? "\t" : /^ {2}\S/m.test(text) ? "  " : "    "),
        keymap.of([
          { key: "Mod-s", preventDefault: true, run: () => (this.options.onSave(), true) },
          // Browsers open their history with it, where editors replace.
          { key: "Ctrl-h", mac: "Cmd-Alt-f", preventDefault: true, run: findAndReplace },
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

function findAndReplace(view: EditorView): boolean {
  openSearchPanel(view);
  const field = view.dom.querySelector<HTMLInputElement>('.cm-search input[name="search"]');
  const replacement = view.dom.querySelector<HTMLInputElement>('.cm-search input[name="replace"]');
  (field?.value ? replacement : field)?.focus();
  return true;
}

/** The part of `before` (`from` to `to`) that another part of `after` (`from` to `end`) replaces. Pure. */
export function difference(before: string, after: string): { from: number; to: number; end: number } {
  const shorter = Math.min(before.length, after.length);
  let from = 0;
  while (from < shorter && before.charCodeAt(from) === after.charCodeAt(from)) from += 1;
  let same = 0;
  while (
    same < shorter - from &&
    before.charCodeAt(before.length - 1 - same) === after.charCodeAt(after.length - 1 - same)
  ) {
    same += 1;
  }
  return { from, to: before.length - same, end: after.length - same };
}
