import { beforeEach, describe, expect, test } from "vitest";
import {
  type Effect,
  MAX_FRAME,
  MAX_UNACKNOWLEDGED,
  TerminalConnection,
} from "./terminal-connection";

const bytes = (text: string) => new TextEncoder().encode(text);
const shown = (effects: Effect[]) =>
  effects.map((e) => (e.do === "show" ? new TextDecoder().decode(e.data) : "")).join("");
const sent = (effects: Effect[]) =>
  effects.map((e) => (e.do === "send" ? new TextDecoder().decode(e.data) : "")).join("");
const marks = (effects: Effect[]) => effects.flatMap((e) => (e.do === "mark" ? [e.mark.type] : []));
const attachedAt = (output: number, input = 0, more = {}) =>
  JSON.stringify({ type: "attached", output_offset: output, input_offset: input, ...more });
const nothing = { client: "me", inputOffset: 0, unacknowledged: new Uint8Array() };
const size = { cols: 80, rows: 24 };

let link: TerminalConnection;

beforeEach(() => {
  link = new TerminalConnection(nothing, size, 0);
  link.connecting();
});

describe("output", () => {
  test("a first connection asks for everything that is kept", () => {
    expect(link.query()).toEqual({ client: "me", input_offset: "0", cols: "80", rows: "24" });
  });

  test("a later connection asks for the byte after the last one seen", () => {
    link.text(attachedAt(100));
    link.binary(bytes("hello"));
    link.closed(1006, "", 0);
    expect(link.query()["offset"]).toBe("105");
  });

  test("bytes that were seen before are not shown again", () => {
    link.text(attachedAt(0));
    link.binary(bytes("hello"));
    link.closed(1006, "", 0);
    link.text(attachedAt(3));
    expect(shown(link.binary(bytes("l")))).toBe("");
    expect(shown(link.binary(bytes("o world")))).toBe(" world");
    expect(link.nextOffset).toBe(11);
  });

  test("a gap is said with its size", () => {
    link.text(attachedAt(0));
    link.binary(bytes("hello"));
    link.closed(1006, "", 0);
    const effects = link.text(attachedAt(1000, 0, { truncated: true }));
    expect(effects).toContainEqual({ do: "mark", mark: { type: "truncated", bytes: 995 } });
    expect(link.nextOffset).toBe(1000);
  });

  test("a first connection that begins late says so only when bytes are gone", () => {
    expect(marks(link.text(attachedAt(50)))).toEqual([]);
    const other = new TerminalConnection(nothing, size, 0);
    expect(marks(other.text(attachedAt(50, 0, { truncated: true })))).toEqual(["truncated"]);
  });

  test("what the server kept already is told apart from what is new", () => {
    const late = new TerminalConnection(nothing, size, 3);
    late.text(attachedAt(0));
    expect(late.binary(bytes("abcde"))).toEqual([
      { do: "show", data: bytes("abc"), replay: true },
      { do: "show", data: bytes("de"), replay: false },
    ]);
  });
});

describe("input", () => {
  test("what is typed while detached is sent after attaching, once", () => {
    expect(link.input(bytes("ls\r"))).toEqual([]);
    expect(sent(link.text(attachedAt(0)))).toBe("ls\r");
    link.text(JSON.stringify({ type: "input_ack", offset: 3 }));
    link.closed(1006, "", 0);
    expect(sent(link.text(attachedAt(0, 3)))).toBe("");
  });

  test("what the server did not accept is sent again from its number on", () => {
    link.text(attachedAt(0));
    link.input(bytes("ab"));
    link.input(bytes("cdef"));
    link.closed(1006, "", 0);
    expect(sent(link.text(attachedAt(0, 3)))).toBe("def");
    expect(link.query()["input_offset"]).toBe("3");
  });

  test("a server that lost count is counted from its own number", () => {
    link.text(attachedAt(0, 10));
    link.input(bytes("ab"));
    link.closed(1006, "", 0);
    expect(sent(link.text(attachedAt(0, 0)))).toBe("ab");
    link.text(JSON.stringify({ type: "input_ack", offset: 2 }));
    expect(link.unacknowledged).toBe(0);
  });

  test("input beyond the bound is refused and said, never cut in two", () => {
    link.text(attachedAt(0));
    link.input(new Uint8Array(MAX_UNACKNOWLEDGED));
    expect(marks(link.input(bytes("x")))).toEqual(["input_refused"]);
    expect(link.unacknowledged).toBe(MAX_UNACKNOWLEDGED);
  });

  test("long input goes in frames of bounded size", () => {
    link.text(attachedAt(0));
    const effects = link.input(new Uint8Array(MAX_FRAME * 2 + 1));
    expect(effects.map((e) => (e.do === "send" ? e.data.length : 0))).toEqual([
      MAX_FRAME,
      MAX_FRAME,
      1,
    ]);
  });

  test("unacknowledged input outlives the page", () => {
    link.text(attachedAt(0, 7));
    link.input(bytes("ab"));
    const next = new TerminalConnection(link.remember(), size, 0);
    expect(next.query()).toMatchObject({ client: "me", input_offset: "7" });
    expect(sent(next.text(attachedAt(0, 8)))).toBe("b");
  });
});

describe("losses", () => {
  test("pauses double, are spread by chance, and start anew after an attachment", () => {
    const pause = (chance: number) => {
      const retry = link.closed(1006, "", chance).find((e) => e.do === "retry");
      return retry?.do === "retry" ? retry.seconds : null;
    };
    expect(pause(0)).toBeCloseTo(0.05);
    expect(pause(0)).toBeCloseTo(0.1);
    expect(pause(0.999)).toBeCloseTo(0.4, 2);
    for (let i = 0; i < 20; i++) pause(0);
    expect(pause(0)).toBe(7.5);
    link.text(attachedAt(0));
    expect(pause(0)).toBeCloseTo(0.05);
  });

  test("the end of the shell ends the machine, and a new one goes on counting", () => {
    link.text(attachedAt(0));
    link.binary(bytes("bye"));
    expect(marks(link.text(JSON.stringify({ type: "exit", code: 3 })))).toEqual(["over"]);
    expect(link.closed(4410, "", 0)).toEqual([]);
    expect(link.input(bytes("x"))).toEqual([]);
    link.reopen();
    expect(link.query()["offset"]).toBe("3");
  });

  test("a replaced connection does not fight for its place", () => {
    link.text(attachedAt(0));
    expect(marks(link.closed(4411, "", 0))).toEqual(["replaced"]);
    expect(link.phase.at).toBe("replaced");
  });

  test("a refusal that another try cannot help is final", () => {
    expect(marks(link.closed(4404, "no such terminal", 0))).toEqual(["failed"]);
    expect(link.phase).toEqual({ at: "failed", reason: "no such terminal" });
  });

  test("expired credentials are renewed before the next try", () => {
    const effects = link.closed(4401, "", 0).map((e) => e.do);
    expect(effects).toEqual(["authenticate", "retry", "changed"]);
  });

  test("a new shell is said once, however often it is told", () => {
    link.text(attachedAt(0));
    link.binary(bytes("x"));
    link.closed(1006, "", 0);
    link.text(attachedAt(1, 0));
    expect(marks(link.text(JSON.stringify({ type: "restarted" })))).toEqual(["restarted"]);
    expect(marks(link.text(JSON.stringify({ type: "restarted" })))).toEqual([]);
    link.binary(bytes("$ "));
    expect(marks(link.text(JSON.stringify({ type: "restarted" })))).toEqual(["restarted"]);
  });
});

describe("size", () => {
  test("a new size is told once", () => {
    link.text(attachedAt(0));
    expect(link.resize({ cols: 100, rows: 30 })).toHaveLength(1);
    expect(link.resize({ cols: 100, rows: 30 })).toEqual([]);
  });

  test("a size that changed while connecting is told after attaching", () => {
    link.resize({ cols: 120, rows: 40 });
    expect(link.text(attachedAt(0))).toContainEqual({
      do: "control",
      frame: { type: "resize", cols: 120, rows: 40 },
    });
  });

  test("a size that another client chose is taken over", () => {
    link.text(attachedAt(0));
    const effects = link.text(JSON.stringify({ type: "resized", cols: 60, rows: 20 }));
    expect(effects).toEqual([{ do: "size", cols: 60, rows: 20 }]);
    expect(link.resize({ cols: 60, rows: 20 })).toEqual([]);
  });
});

test("frames that are not understood change nothing", () => {
  for (const frame of ["", "nonsense", "null", "[]", '{"type": "news"}', '{"type": 3}']) {
    expect(link.text(frame)).toEqual([]);
  }
});
