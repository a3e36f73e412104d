/** Carries out what a `TerminalConnection` decides: sockets, timers, and the tab's storage. */

import { signal } from "@preact/signals";
import { ApiError, explain, randomId, renew } from "../../lib/api";
import {
  type Effect,
  type LinkPhase,
  type Mark,
  type Remembered,
  type ServerStatus,
  type Size,
  type Sizing,
  type SizingRule,
  TerminalConnection,
} from "./connection";
import { browserName } from "../../lib/browser";
import { abandon, Channel, LOST, silentFor, SocketClosed } from "../session/socket";

/** Takes output. `backlog` is the bytes of it that are not drawn yet. */
export interface TerminalSink {
  /** Draw; what programs ask in `live` output is answered. */
  show(data: Uint8Array, live: boolean): void;
  /** Bring the terminal, reset, to the state that the output which follows begins in. */
  restore(data: Uint8Array): void;
  mark(mark: Mark): void;
  /** The terminal has this size: this page's own, or another window's. */
  resized(size: Size, ours: boolean): void;
  directory(path: string): void;
  backlog(): number;
}

const MAX_BACKLOG = 8 << 20;
const LOW_BACKLOG = 1 << 20;
const BACKLOG_PAUSE_SECONDS = 0.2;
const ATTACH_LIMIT_SECONDS = 70;
const SILENCE_LIMIT_SECONDS = 12;
const USE_AGAIN_MILLISECONDS = 2000;
const USE_FIRST_MILLISECONDS = 100;
const CLOSED_BY_US = 4408;

export class TerminalLink {
  readonly phase = signal<LinkPhase>({ at: "connecting" });
  readonly status = signal<ServerStatus>("ready");
  /** Milliseconds from the last key to the next output. */
  readonly echo = signal<number | null>(null);
  /** By which rule and whose windows the terminal has its size; null: the server has not said. */
  readonly sizing = signal<Sizing | null>(null);
  /** Bytes of a large paste that wait until the terminal takes them. */
  readonly unsent = signal(0);
  /** The time of the next try, on the page's clock. */
  retryAt = 0;
  private readonly connection: TerminalConnection;
  private channel: Channel | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private watchdog: ReturnType<typeof setTimeout> | undefined;
  private typedAt: number | null = null;
  private attempt = 0;
  private ended = false;
  private usedAt = -Infinity;

  constructor(
    private readonly name: string,
    private readonly storageKey: string,
    private readonly sink: TerminalSink,
    size: Size | null,
  ) {
    this.connection = new TerminalConnection(takeRemembered(storageKey), size, browserName());
    addEventListener("pagehide", this.putBack);
    addEventListener("pageshow", this.takeAgain);
    addEventListener("online", this.hurry);
    document.addEventListener("visibilitychange", this.hurry);
  }

  /** True if it was attached before, so that connecting is connecting again. */
  get known(): boolean {
    return this.connection.nextOffset !== null;
  }

  start(): void {
    void this.open();
  }

  type(data: Uint8Array): void {
    if (data.length === 0) return;
    this.typedAt ??= performance.now();
    this.carryOut(this.connection.input(data));
    this.watch();
  }

  /** Send what the emulator answers to a program. */
  reply(data: Uint8Array): void {
    this.carryOut(this.connection.reply(data));
  }

  resize(size: Size | null): void {
    this.carryOut(this.connection.resize(size));
  }

  /** Say that a person uses this page, at once if another one has the terminal, else now and then. */
  use(): void {
    const now = performance.now();
    const pause = this.connection.secondary ? USE_FIRST_MILLISECONDS : USE_AGAIN_MILLISECONDS;
    if (now - this.usedAt < pause) return;
    this.usedAt = now;
    this.carryOut(this.connection.use());
  }

  /** Have the terminal sized by another rule. */
  chooseSizing(rule: SizingRule): void {
    this.carryOut(this.connection.chooseSizing(rule));
  }

  /** Begin again after the shell's end or after another window took over. */
  reopen(): void {
    this.connection.reopen();
    this.publish();
    void this.open();
  }

  /** Try now instead of later. */
  readonly hurry = (): void => {
    if (this.phase.value.at === "waiting" && document.visibilityState === "visible") void this.open();
  };

  /** Detach for good; the shell goes on. */
  close(): void {
    this.ended = true;
    this.drop();
    clearTimeout(this.timer);
    removeEventListener("pagehide", this.putBack);
    removeEventListener("pageshow", this.takeAgain);
    removeEventListener("online", this.hurry);
    document.removeEventListener("visibilitychange", this.hurry);
  }

  private async open(): Promise<void> {
    clearTimeout(this.timer);
    this.drop();
    const attempt = ++this.attempt;
    if (this.sink.backlog() > LOW_BACKLOG) {
      this.timer = setTimeout(() => void this.open(), BACKLOG_PAUSE_SECONDS * 1000);
      return;
    }
    this.carryOut(this.connection.connecting());
    const wanted = () => attempt === this.attempt && !this.ended;
    try {
      const channel = await Channel.open(this.name, this.connection.query(), this.reader, wanted);
      if (!channel || !wanted()) {
        channel?.close();
        return;
      }
      this.channel = channel;
      this.restartWatchdog(ATTACH_LIMIT_SECONDS, () => this.lost(LOST, ""));
    } catch (error) {
      if (wanted()) this.refused(error);
    }
  }

  private refused(error: unknown): void {
    if (error instanceof SocketClosed) {
      this.lost(error.code, error.message);
    } else if (
      error instanceof ApiError &&
      error.status >= 400 &&
      error.status < 500 &&
      error.status !== 429
    ) {
      this.carryOut(this.connection.failed(explain(error)));
    } else {
      this.lost(LOST, "");
    }
  }

  private readonly reader = {
    message: (data: string | Uint8Array): void => {
      this.watch();
      if (typeof data === "string") {
        this.carryOut(this.connection.text(data));
        this.watch();
        return;
      }
      this.measure();
      this.carryOut(this.connection.binary(data));
      // More than can be drawn: let it go, and catch up from the journal when the rest is drawn.
      if (this.sink.backlog() > MAX_BACKLOG) this.lost(CLOSED_BY_US, "");
    },
    closed: (code: number, reason: string): void => {
      this.channel = null;
      this.lost(code, reason);
    },
  };

  private lost(code: number, reason: string): void {
    this.drop();
    this.carryOut(this.connection.closed(code, reason, Math.random()));
  }

  private drop(): void {
    clearTimeout(this.watchdog);
    this.typedAt = null;
    this.channel?.close();
    this.channel = null;
  }

  private carryOut(effects: Effect[]): void {
    this.unsent.value = this.connection.unsent;
    for (const effect of effects) {
      switch (effect.do) {
        case "send":
          this.channel?.send(effect.data);
          break;
        case "control":
          this.channel?.send(JSON.stringify(effect.frame));
          break;
        case "show":
          this.sink.show(effect.data, effect.live);
          break;
        case "state":
          this.sink.restore(effect.data);
          break;
        case "mark":
          this.sink.mark(effect.mark);
          break;
        case "size":
          this.sink.resized({ cols: effect.cols, rows: effect.rows }, effect.ours);
          break;
        case "sizing":
          this.sizing.value = effect.sizing;
          break;
        case "directory":
          this.sink.directory(effect.path);
          break;
        case "authenticate":
          // The ticket of the next try is refused, and the page notified, if this does not help.
          renew().catch(() => undefined);
          break;
        case "retry":
          this.retryAt = performance.now() + effect.seconds * 1000;
          clearTimeout(this.timer);
          this.timer = setTimeout(() => void this.open(), effect.seconds * 1000);
          break;
        case "changed":
          this.publish();
          break;
      }
    }
  }

  private publish(): void {
    this.phase.value = this.connection.phase;
    this.status.value = this.connection.status;
  }

  /**
   * A network that dies in silence closes nothing: typed input that is neither acknowledged nor answered
   * in a ready session shows it.
   */
  private watch(): void {
    const waits =
      this.connection.phase.at === "attached" &&
      this.connection.status === "ready" &&
      this.connection.unacknowledged > 0;
    if (waits) this.restartWatchdog(SILENCE_LIMIT_SECONDS, this.doubt);
    else if (this.connection.phase.at === "attached") clearTimeout(this.watchdog);
  }

  /** Where other terminals are heard of, it is a program that takes no input. */
  private readonly doubt = (): void => {
    if (silentFor(SILENCE_LIMIT_SECONDS * 1000)) abandon();
    else this.watch();
  };

  private restartWatchdog(seconds: number, act: () => void): void {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(act, seconds * 1000);
  }

  private measure(): void {
    if (this.typedAt === null) return;
    this.echo.value = performance.now() - this.typedAt;
    this.typedAt = null;
  }

  // The tab's storage holds the state only while no page uses it, so that a duplicated tab, which
  // gets a copy of the storage, does not speak as the same client.
  private readonly putBack = (): void => putRemembered(this.storageKey, this.connection.remember());
  private readonly takeAgain = (event: PageTransitionEvent): void => {
    if (event.persisted) takeRemembered(this.storageKey);
  };
}

function takeRemembered(key: string): Remembered {
  const fresh = { client: `web-${randomId()}`, inputOffset: 0, unacknowledged: new Uint8Array() };
  try {
    const raw = sessionStorage.getItem(key);
    sessionStorage.removeItem(key);
    if (raw === null) return fresh;
    const stored = JSON.parse(raw) as { client: string; input_offset: number; unacknowledged: string };
    if (typeof stored.client !== "string" || !Number.isSafeInteger(stored.input_offset)) return fresh;
    return {
      client: stored.client,
      inputOffset: stored.input_offset,
      unacknowledged: Uint8Array.from(atob(stored.unacknowledged), (c) => c.charCodeAt(0)),
    };
  } catch {
    return fresh; // storage is closed, or holds something else
  }
}

function putRemembered(key: string, state: Remembered): void {
  let text = "";
  for (const byte of state.unacknowledged) text += String.fromCharCode(byte);
  try {
    sessionStorage.setItem(
      key,
      JSON.stringify({
        client: state.client,
        input_offset: state.inputOffset,
        unacknowledged: btoa(text),
      }),
    );
  } catch {
    // Closed or full: unacknowledged input goes with the page.
  }
}
