/** One xterm.js terminal on the page, fed by a `TerminalLink`. */

import { effect, signal } from "@preact/signals";
import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { fontSize, isDark, screenReader } from "../../../lib/preferences";
import { ask } from "../../../ui/dialog";
import type { Mark, Size } from "../connection";
import { guardQueries } from "./queries";
import { controlCharacter, markText, RESET_MODES } from "./text";
import type { TerminalSink } from "../link";
import { clipboardText, directoryOf, safeLink } from "./osc";
import { localAddress } from "../../ports/news";
import { openUrl } from "../../ports/ports";
import { cleanPaste } from "./paste";
import { widths } from "./widths";
import { copyForProgram } from "./clipboard";
import { DARK, LIGHT } from "./theme";
import "./view.css";

const SCROLLBACK_LINES = 10_000;
const encoder = new TextEncoder();

export interface TerminalKeys {
  type(data: Uint8Array): void;
  /** An answer to a program. */
  reply(data: Uint8Array): void;
  /** Set the size in which the terminal is shown here; null: it is not shown. */
  resize(size: Size | null): void;
  /** A person uses it here. */
  use(): void;
}

export class TerminalView implements TerminalSink {
  readonly element = document.createElement("div");
  readonly cwd = signal<string | null>(null);
  readonly size = signal<Size>({ cols: 80, rows: 24 });
  /** True while another window sets the size. */
  readonly foreign = signal(false);
  /** Set while the key bar's Ctrl is down: the next character is sent as a control character. */
  readonly stickyControl = signal(false);
  readonly search = new SearchAddon();
  private readonly terminal: Terminal;
  private readonly fitter = new FitAddon();
  private readonly observer = new ResizeObserver(() => this.fitSoon());
  private readonly disposeEffects: (() => void)[] = [];
  private readonly linkShown = document.createElement("div");
  private keys: TerminalKeys | null = null;
  private notDrawn = 0;
  private live = false;
  private shownAnything = false;
  private attached = false;
  private followsCursor = true;
  private frame = 0;

  constructor(
    private label: string,
    private readonly onOutput: () => void,
  ) {
    this.element.className = "terminal-view";
    this.linkShown.className = "terminal-link xterm-hover";
    this.terminal = new Terminal({
      allowProposedApi: true,
      cursorBlink: true,
      fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
      fontSize: fontSize.value,
      lineHeight: 1.2,
      macOptionIsMeta: true,
      minimumContrastRatio: 4.5,
      scrollback: SCROLLBACK_LINES,
      screenReaderMode: screenReader.value,
      theme: isDark() ? DARK : LIGHT,
      linkHandler: {
        activate: (_event, uri) => openLink(uri),
        hover: (_event, uri) => this.showLink(uri),
        leave: () => this.showLink(null),
        allowNonHttpProtocols: true, // `openLink` chooses
      },
    });
    this.terminal.loadAddon(this.fitter);
    this.terminal.loadAddon(this.search);
    this.terminal.loadAddon(new WebLinksAddon((_event, uri) => openLink(uri)));
    this.terminal.unicode.register(widths);
    this.terminal.unicode.activeVersion = widths.version;
    this.hearPrograms();
    this.hearPastes();
    const queries = guardQueries(this.terminal.parser, () => this.live);
    this.terminal.onData((text) => {
      if (!queries.pass(text)) return;
      if (queries.takeAsked()) this.keys?.reply(encoder.encode(text));
      else this.send(text);
    });
    this.terminal.onBinary((text) =>
      this.keys?.type(Uint8Array.from(text, (character) => character.charCodeAt(0))),
    );
    for (const kind of ["keydown", "pointerdown", "beforeinput", "paste"]) {
      this.element.addEventListener(kind, () => this.keys?.use(), { capture: true, passive: true });
    }
    this.element.addEventListener("mousedown", (event) => {
      if (event.target !== this.element) return;
      event.preventDefault(); // beside a terminal that another window made smaller
      this.focus();
    });
    this.terminal.onCursorMove(() => this.showCursor());
    this.element.addEventListener("scroll", () => (this.followsCursor = this.cursorShown()));
    document.addEventListener("visibilitychange", this.fitNow);
    this.disposeEffects.push(
      () => document.removeEventListener("visibilitychange", this.fitNow),
      effect(() => {
        this.terminal.options.theme = isDark() ? DARK : LIGHT;
      }),
      effect(() => {
        this.terminal.options.screenReaderMode = screenReader.value;
      }),
      effect(() => {
        this.terminal.options.fontSize = fontSize.value;
        this.fitSoon();
      }),
    );
  }

  /** Set the name that a screen reader gives it. */
  rename(label: string): void {
    this.label = label;
    this.terminal.textarea?.setAttribute("aria-label", `Terminal ${label}`);
  }

  /** True once it has been on the page. */
  get opened(): boolean {
    return this.keys !== null;
  }

  /** Draw from now on; called once, when the element is on the page. */
  open(keys: TerminalKeys): void {
    this.keys = keys;
    this.terminal.open(this.element);
    this.rename(this.label);
    this.observer.observe(this.element);
    void this.useWebGl();
    this.fit();
  }

  dispose(): void {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    for (const dispose of this.disposeEffects) dispose();
    this.terminal.dispose();
    this.element.remove();
  }

  focus(): void {
    this.terminal.focus();
  }

  /** Type as if from the keyboard: the key bar and pasting come through here. */
  typed(text: string): void {
    this.keys?.use();
    this.send(text);
  }

  private send(text: string): void {
    if (this.stickyControl.value) {
      this.stickyControl.value = false;
      text = controlCharacter(text) ?? text;
    }
    this.keys?.type(encoder.encode(text));
  }

  /** Type a text that comes from elsewhere: no control character of it, and bracketed where that is asked. */
  paste(text: string): void {
    this.keys?.use();
    const clean = cleanPaste(text);
    if (clean !== "") this.terminal.paste(clean);
  }

  /** True while programs ask for the arrow keys' other form (DECCKM). */
  get applicationCursor(): boolean {
    return this.terminal.modes.applicationCursorKeysMode;
  }

  get selection(): string {
    return this.terminal.getSelection();
  }

  clear(): void {
    this.terminal.clear();
  }

  private hearPrograms(): void {
    const { parser } = this.terminal;
    parser.registerOscHandler(7, (data) => {
      this.cwd.value = directoryOf(data) ?? this.cwd.value;
      return true;
    });
    parser.registerOscHandler(52, (data) => {
      // Only where questions are answered, too: once, and not when it is shown again.
      const text = this.live ? clipboardText(data) : null;
      if (text !== null) void copyForProgram(text);
      return true;
    });
  }

  /** Take every way in which the browser would put foreign text into the terminal. */
  private hearPastes(): void {
    const take = (event: Event, text: string) => {
      event.preventDefault();
      event.stopImmediatePropagation();
      this.paste(text);
    };
    const options = { capture: true };
    const textOf = (from: DataTransfer | null) => from?.getData("text/plain") ?? "";
    this.element.addEventListener("paste", (e) => take(e, textOf(e.clipboardData)), options);
    this.element.addEventListener("dragover", (e) => {
      if (e.dataTransfer?.types.includes("text/plain")) e.preventDefault();
    });
    this.element.addEventListener(
      "drop",
      (e) => {
        if (!e.dataTransfer?.types.includes("text/plain")) return; // files are not for the shell
        take(e, textOf(e.dataTransfer));
        this.focus();
      },
      options,
    );
    this.element.addEventListener(
      "beforeinput",
      (e) => {
        if (!/^insertFrom(Paste|Drop|Yank)/.test(e.inputType)) return;
        take(e, e.data ?? textOf(e.dataTransfer));
      },
      options,
    );
  }

  /** Say where a link leads while the pointer is on it: its text may say something else. */
  private showLink(uri: string | null): void {
    const shown = uri !== null && (safeLink(uri) ?? "not a link that can be opened");
    if (shown === false) {
      this.linkShown.remove();
      return;
    }
    this.linkShown.textContent = shown;
    this.terminal.element?.append(this.linkShown);
  }

  // ---- TerminalSink -------------------------------------------------------------------------------

  show(data: Uint8Array, live: boolean): void {
    this.shownAnything = true;
    this.notDrawn += data.length;
    // Drawn in its turn: until then what was given before is, and counts as that does.
    if (live) this.terminal.write("", () => (this.live = true));
    this.terminal.write(data, () => {
      this.notDrawn -= data.length;
      this.live = false;
    });
    this.onOutput();
  }

  restore(data: Uint8Array): void {
    this.terminal.write(RESET_MODES);
    this.terminal.write(data);
  }

  mark(mark: Mark): void {
    const reset = mark.type === "restarted" || mark.type === "over" ? RESET_MODES : "\x18\x1b[0m";
    const line = `\x1b[2m— ${markText(mark)} —\x1b[0m\r\n`;
    this.terminal.write(`${reset}${this.shownAnything ? "\r\n" : ""}${line}`);
    this.shownAnything = true;
  }

  resized(size: Size, ours: boolean): void {
    this.attached = true;
    this.foreign.value = !ours;
    this.element.classList.toggle("foreign", !ours);
    if (ours) {
      this.fit();
      return;
    }
    this.draw(size);
    this.followsCursor = true;
    requestAnimationFrame(() => this.showCursor());
  }

  directory(path: string): void {
    this.cwd.value = path;
  }

  backlog(): number {
    return this.notDrawn;
  }

  // ---- size -------------------------------------------------------------------------------------

  /**
   * Measure what there is room for, and claim it. Where another window sets the size, that one is shown
   * whole, with bars to scroll. What is hidden, with the page or in it, claims nothing.
   */
  fit(): void {
    const size = this.measure();
    if (size && (!this.attached || !this.foreign.value)) this.draw(size);
    this.keys?.resize(size);
  }

  /** Have the terminal in this page's size. */
  takeSize(): void {
    this.keys?.use();
    this.fit();
    this.focus();
  }

  private readonly fitNow = (): void => this.fit();

  private measure(): Size | null {
    if (document.visibilityState === "hidden" || this.element.offsetParent === null) return null;
    const proposed = this.fitter.proposeDimensions();
    if (!proposed || !(proposed.cols >= 2 && proposed.rows >= 1)) return null;
    return { cols: Math.min(proposed.cols, 1000), rows: Math.min(proposed.rows, 1000) };
  }

  private draw(size: Size): void {
    this.terminal.resize(size.cols, size.rows);
    this.size.value = size;
  }

  private fitSoon(): void {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.fit());
  }

  /** The place of the cursor's row in the element that scrolls, in pixels. */
  private cursorRow(): { top: number; bottom: number } {
    const screen = this.element.querySelector<HTMLElement>(".xterm-screen");
    const height = (screen?.offsetHeight ?? 0) / this.terminal.rows;
    const top = height * this.terminal.buffer.active.cursorY;
    return { top, bottom: top + height };
  }

  private cursorShown(): boolean {
    const { top, bottom } = this.cursorRow();
    const { scrollTop, clientHeight } = this.element;
    return top >= scrollTop - 1 && bottom <= scrollTop + clientHeight + 1;
  }

  /** Keep the cursor's row in sight of a window that is smaller, unless somebody scrolled away from it. */
  private showCursor(): void {
    if (!this.foreign.value || !this.followsCursor || this.cursorShown()) return;
    const { bottom } = this.cursorRow();
    this.element.scrollTop = bottom - this.element.clientHeight + 16;
  }

  /** Draw with the graphics card where that is not a burden; the default renderer stays otherwise. */
  private async useWebGl(): Promise<void> {
    if (!hasGraphicsCard()) return;
    try {
      const { WebglAddon } = await import("@xterm/addon-webgl");
      const addon = new WebglAddon();
      addon.onContextLoss(() => addon.dispose());
      this.terminal.loadAddon(addon);
    } catch {
      // No context after all.
    }
  }
}

/** True if WebGL is more than a drawing program on the processor. */
function hasGraphicsCard(): boolean {
  const context = document
    .createElement("canvas")
    .getContext("webgl2", { failIfMajorPerformanceCaveat: true });
  if (!context) return false;
  const info = context.getExtension("WEBGL_debug_renderer_info");
  const name = String(context.getParameter(info?.UNMASKED_RENDERER_WEBGL ?? context.RENDERER));
  context.getExtension("WEBGL_lose_context")?.loseContext();
  return !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}

/** Open a link in a window that knows nothing of this one; where nothing hovers, say first where to. */
function openLink(uri: string): void {
  // What programs call this machine is theirs, not the reader's.
  const local = localAddress(uri);
  const href = local ? openUrl(local.port, local.rest) : safeLink(uri);
  if (href === null) return;
  const open = () => window.open(href, "_blank", "noopener,noreferrer");
  if (matchMedia("(hover: hover)").matches) {
    open();
    return;
  }
  void ask("Open this link?", href, [{ value: "open", label: "Open", kind: "primary" }]).then(
    (answer) => answer && open(),
  );
}
