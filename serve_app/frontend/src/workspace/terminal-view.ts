/** One xterm.js terminal on the page, fed by a `TerminalLink`. */

import { effect, signal } from "@preact/signals";
import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { fontSize, isDark, screenReader } from "../lib/preferences";
import type { Mark, Size } from "../terminal-connection";
import { controlCharacter, markText, RESET_MODES } from "./terminal-text";
import type { TerminalSink } from "./terminal-link";
import { DARK, LIGHT } from "./terminal-theme";

const SCROLLBACK_LINES = 10_000;
const encoder = new TextEncoder();

export interface TerminalKeys {
  type(data: Uint8Array): void;
  resize(size: Size): void;
}

export class TerminalView implements TerminalSink {
  readonly element = document.createElement("div");
  readonly cwd = signal<string | null>(null);
  readonly size = signal<Size>({ cols: 80, rows: 24 });
  /** Set while the key bar's Ctrl is down: the next character is sent as a control character. */
  readonly stickyControl = signal(false);
  readonly search = new SearchAddon();
  /** Called when output came. */
  onOutput: () => void = () => undefined;
  private readonly terminal: Terminal;
  private readonly fitter = new FitAddon();
  private readonly observer = new ResizeObserver(() => this.fitSoon());
  private readonly disposeEffects: (() => void)[] = [];
  private keys: TerminalKeys | null = null;
  private notDrawn = 0;
  private replaying = false;
  private shownAnything = false;
  private foreignSize = false;
  private frame = 0;

  constructor(private label: string) {
    this.element.className = "terminal-view";
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
      linkHandler: { activate: (_event, uri) => openLink(uri) },
    });
    this.terminal.loadAddon(this.fitter);
    this.terminal.loadAddon(this.search);
    this.terminal.loadAddon(new Unicode11Addon());
    this.terminal.loadAddon(new WebLinksAddon((_event, uri) => openLink(uri)));
    this.terminal.unicode.activeVersion = "11";
    this.answerOnce();
    this.terminal.onData((text) => this.typed(text));
    this.terminal.onBinary((text) =>
      this.keys?.type(Uint8Array.from(text, (character) => character.charCodeAt(0))),
    );
    this.element.addEventListener("focusin", () => this.takeSizeBack());
    this.disposeEffects.push(
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

  /** What a screen reader calls it. */
  rename(label: string): void {
    this.label = label;
    this.terminal.textarea?.setAttribute("aria-label", `Terminal ${label}`);
  }

  /** Whether it has been on the page. */
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
    if (this.stickyControl.value) {
      this.stickyControl.value = false;
      text = controlCharacter(text) ?? text;
    }
    this.takeSizeBack();
    this.keys?.type(encoder.encode(text));
  }

  paste(text: string): void {
    this.terminal.paste(text);
  }

  /** Whether programs asked for the arrow keys' other form (DECCKM). */
  get applicationCursor(): boolean {
    return this.terminal.modes.applicationCursorKeysMode;
  }

  get selection(): string {
    return this.terminal.getSelection();
  }

  clear(): void {
    this.terminal.clear();
  }

  /** All text that is kept, wrapped lines joined. */
  text(): string {
    const buffer = this.terminal.buffer.active;
    const lines: string[] = [];
    for (let y = 0; y < buffer.length; y++) {
      const line = buffer.getLine(y);
      if (!line) continue;
      const wraps = buffer.getLine(y + 1)?.isWrapped ?? false;
      const part = line.translateToString(!wraps);
      if (line.isWrapped && lines.length > 0) lines[lines.length - 1] += part;
      else lines.push(part);
    }
    return lines.join("\n");
  }

  // ---- TerminalSink -------------------------------------------------------------------------------

  show(data: Uint8Array, replay: boolean): void {
    this.shownAnything = true;
    this.notDrawn += data.length;
    if (replay) this.terminal.write("", () => (this.replaying = true));
    this.terminal.write(data, () => {
      this.notDrawn -= data.length;
      this.replaying = false;
    });
    if (!replay) this.onOutput();
  }

  mark(mark: Mark): void {
    const reset = mark.type === "restarted" || mark.type === "over" ? RESET_MODES : "\x18\x1b[0m";
    const line = `\x1b[2m— ${markText(mark)} —\x1b[0m\r\n`;
    this.terminal.write(`${reset}${this.shownAnything ? "\r\n" : ""}${line}`);
    this.shownAnything = true;
  }

  resizedByOther(size: Size): void {
    this.foreignSize = true;
    this.terminal.resize(size.cols, size.rows);
    this.size.value = { cols: size.cols, rows: size.rows };
  }

  directory(path: string): void {
    this.cwd.value = path;
  }

  backlog(): number {
    return this.notDrawn;
  }

  // ---- size -------------------------------------------------------------------------------------

  fit(): void {
    if (this.foreignSize || this.element.offsetParent === null) return;
    const proposed = this.fitter.proposeDimensions();
    if (!proposed || !(proposed.cols >= 2 && proposed.rows >= 1)) return;
    const size = { cols: Math.min(proposed.cols, 1000), rows: Math.min(proposed.rows, 1000) };
    this.terminal.resize(size.cols, size.rows);
    this.size.value = size;
    this.keys?.resize(size);
  }

  private fitSoon(): void {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.fit());
  }

  /** Whoever types sets the size; what another browser chose lasts until then. */
  private takeSizeBack(): void {
    if (!this.foreignSize) return;
    this.foreignSize = false;
    this.fit();
  }

  /**
   * Programs ask terminals about themselves, and a second answer would be typed into the shell. So
   * questions are swallowed in replayed output, which have long been answered, and while another
   * browser has the terminal, which answers itself.
   */
  private answerOnce(): void {
    const swallow = () => this.replaying || this.foreignSize;
    const { parser } = this.terminal;
    for (const prefix of ["", ">", "=", "?"]) {
      const id = prefix === "" ? {} : { prefix };
      for (const final of ["c", "n", "u", "q"]) {
        if (prefix === "" && (final === "u" || final === "q")) continue; // restores the cursor
        parser.registerCsiHandler({ ...id, final }, swallow);
      }
      if (prefix === "" || prefix === "?") {
        parser.registerCsiHandler({ ...id, intermediates: "$", final: "p" }, swallow);
      }
    }
    parser.registerDcsHandler({ intermediates: "$", final: "q" }, swallow);
    for (const code of [4, 10, 11, 12]) {
      parser.registerOscHandler(code, (data) => swallow() && data.includes("?"));
    }
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

/** Whether WebGL is more than a drawing program on the processor. */
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

function openLink(uri: string): void {
  if (/^(https?|mailto):/i.test(uri)) window.open(uri, "_blank", "noopener,noreferrer");
}
