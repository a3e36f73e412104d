import { beforeEach, describe, expect, test } from "vitest";
import {
  type Effect,
  MAX_FRAME,
  MAX_UNACKNOWLEDGED,
  MAX_WAITING,
  TerminalConnection,
} from "./connection";

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
  link = new TerminalConnection(nothing, size);
  link.connecting();
});

describe("output", () => {
  test("a first connection asks for everything that is kept", () => {
    expect(link.query()).toEqual({
      client: "me",
      input_offset: "0",
      emulator: "1",
      cols: "80",
      rows: "24",
    });
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
    const other = new TerminalConnection(nothing, size);
    expect(marks(other.text(attachedAt(50, 0, { truncated: true })))).toEqual(["truncated"]);
  });
});

describe("what programs ask", () => {
  const control = (type: string, fields: object) => JSON.stringify({ type, ...fields });
  const live = (effects: Effect[]) =>
    effects.map((e) => (e.do === "show" && e.live ? new TextDecoder().decode(e.data) : "")).join("");

  test("is answered from the byte on that the server names", () => {
    link.text(attachedAt(0, 0, { answers: true, answers_from: 3 }));
    expect(link.binary(bytes("abcde"))).toEqual([
      { do: "show", data: bytes("abc"), live: false },
      { do: "show", data: bytes("de"), live: true },
    ]);
    expect(live(link.binary(bytes("f")))).toBe("f");
  });

  test("is not answered where the server names nobody or another", () => {
    link.text(attachedAt(0));
    expect(live(link.binary(bytes("abc")))).toBe("");
    link.text(control("answers", { answers: false, offset: 3 }));
    expect(live(link.binary(bytes("abc")))).toBe("");
  });

  test("goes over from one to the other at one byte", () => {
    const other = new TerminalConnection({ ...nothing, client: "other" }, size);
    link.text(attachedAt(0, 0, { answers: true, answers_from: 0 }));
    other.text(attachedAt(0, 0, { answers: false, answers_from: 0 }));
    link.text(control("answers", { answers: false, offset: 4 }));
    other.text(control("answers", { answers: true, offset: 4 }));
    expect(live(link.binary(bytes("abcdef")))).toBe("abcd");
    expect(live(other.binary(bytes("abcdef")))).toBe("ef");
  });

  test("while nobody was there is not answered by catching up", () => {
    link.text(attachedAt(0, 0, { answers: true, answers_from: 0 }));
    link.binary(bytes("ab"));
    link.closed(1006, "", 0);
    link.text(attachedAt(2, 0, { answers: true, answers_from: 6 }));
    expect(live(link.binary(bytes("cdefgh")))).toBe("gh");
  });

  test("has no answer that comes too late", () => {
    link.text(attachedAt(0));
    expect(sent(link.reply(bytes("1;2c")))).toBe("1;2c");
    link.closed(1006, "", 0);
    expect(link.reply(bytes("late"))).toEqual([]);
    expect(sent(link.text(attachedAt(0, 4)))).toBe("");
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

  test("a large paste goes on as the server takes it, in order and whole", () => {
    link.text(attachedAt(0));
    const paste = Uint8Array.from({ length: 3 * MAX_UNACKNOWLEDGED + 5 }, (_, at) => at % 251);
    const data = new Uint8Array(paste.length + 1);
    let length = 0;
    let acknowledged = 0;
    const take = (effects: Effect[]) => {
      for (const effect of effects) {
        if (effect.do !== "send") continue;
        data.set(effect.data, length);
        length += effect.data.length;
      }
    };
    take(link.input(paste));
    take(link.input(bytes("x")));
    expect(length).toBe(MAX_UNACKNOWLEDGED);
    while (acknowledged < length) {
      acknowledged = length;
      take(link.text(JSON.stringify({ type: "input_ack", offset: acknowledged })));
      expect(link.unacknowledged).toBeLessThanOrEqual(MAX_UNACKNOWLEDGED);
    }
    expect(link.unsent).toBe(0);
    expect(length).toBe(paste.length + 1);
    expect(data.subarray(0, -1).every((byte, at) => byte === paste[at])).toBe(true);
  });

  test("an interrupt drops what waits of a paste, but for its end", () => {
    link.text(attachedAt(0));
    const text = `\x1b[200~${"z".repeat(2 * MAX_UNACKNOWLEDGED)}\x1b[201~`;
    link.input(bytes(text));
    expect(link.input(bytes("\x03"))).toEqual([]);
    const rest = sent(link.text(JSON.stringify({ type: "input_ack", offset: MAX_UNACKNOWLEDGED })));
    expect(rest).toBe("\x1b[201~\x03");
  });

  test("a page that goes amid a paste leaves none open", () => {
    link.text(attachedAt(0));
    link.input(bytes(`\x1b[200~${"z".repeat(2 * MAX_UNACKNOWLEDGED)}\x1b[201~`));
    const kept = new TextDecoder().decode(link.remember().unacknowledged);
    expect(kept.endsWith("z\x1b[201~")).toBe(true);
  });

  test("more than can wait is refused and said, never cut in two", () => {
    link.text(attachedAt(0));
    link.input(new Uint8Array(MAX_WAITING));
    const before = link.unsent;
    expect(marks(link.input(new Uint8Array(MAX_UNACKNOWLEDGED + 1)))).toEqual(["input_refused"]);
    expect(link.unsent).toBe(before);
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
    const next = new TerminalConnection(link.remember(), size);
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

  test("a new shell is marked once, however often it is reported", () => {
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
  test("a new size is sent once", () => {
    link.text(attachedAt(0));
    expect(link.resize({ cols: 100, rows: 30 })).toHaveLength(1);
    expect(link.resize({ cols: 100, rows: 30 })).toEqual([]);
  });

  test("a size that changed while connecting is sent after attaching", () => {
    link.resize({ cols: 120, rows: 40 });
    expect(link.text(attachedAt(0))).toContainEqual({
      do: "control",
      frame: { type: "resize", cols: 120, rows: 40 },
    });
  });

  test("a terminal that is not shown claims no size", () => {
    const hidden = new TerminalConnection(nothing, null);
    expect(hidden.query()).not.toHaveProperty("cols");
    hidden.connecting();
    hidden.text(attachedAt(0));
    expect(hidden.resize(size)).toEqual([{ do: "control", frame: { type: "resize", ...size } }]);
    expect(hidden.resize(null)).toEqual([{ do: "control", frame: { type: "hidden" } }]);
    expect(hidden.resize(null)).toEqual([]);
    expect(hidden.query()).not.toHaveProperty("cols");
  });

  test("the terminal's size is another window's or this one's, as the server says", () => {
    const effects = link.text(attachedAt(0, 0, { cols: 60, rows: 20, sizes: false }));
    expect(effects).toContainEqual({ do: "size", cols: 60, rows: 20, ours: false });
    expect(link.secondary).toBe(true);
    expect(link.use()).toEqual([{ do: "control", frame: { type: "active" } }]);
    expect(
      link.text(JSON.stringify({ type: "resized", cols: 80, rows: 24, sizes: true })),
    ).toEqual([{ do: "size", cols: 80, rows: 24, ours: true }]);
    link.text(JSON.stringify({ type: "answers", answers: true, offset: 0 }));
    expect(link.secondary).toBe(false);
  });

  test("this page's claim is as it was while another window has the terminal", () => {
    link.text(attachedAt(0, 0, { cols: 60, rows: 20, sizes: false }));
    expect(link.resize(size)).toEqual([]);
    expect(link.query()).toMatchObject({ cols: "80", rows: "24" });
  });
});

test("frames that are not understood change nothing", () => {
  for (const frame of ["", "nonsense", "null", "[]", '{"type": "news"}', '{"type": 3}']) {
    expect(link.text(frame)).toEqual([]);
  }
});

describe("the rule for the size", () => {
  const control = (type: string, fields: object) => JSON.stringify({ type, ...fields });
  const phone = { label: "Safari on iPhone", cols: 40, rows: 60, sets: true, own: false };

  test("comes with the windows that show the terminal", () => {
    link.text(attachedAt(0));
    expect(link.text(control("sizing", { rule: "smallest", windows: [phone, { label: 7 }] }))).toEqual([
      {
        do: "sizing",
        sizing: {
          rule: "smallest",
          windows: [phone, { label: "7", cols: 0, rows: 0, sets: false, own: false }],
        },
      },
    ]);
  });

  test.each([{ rule: "widest", windows: [] }, { rule: "latest" }, { rule: "latest", windows: 1 }])(
    "is ignored where it is none that this page knows: %j",
    (fields) => {
      expect(link.text(control("sizing", fields))).toEqual([]);
    },
  );

  test("is chosen on a connection that is there", () => {
    expect(link.chooseSizing("largest")).toEqual([]);
    link.text(attachedAt(0));
    expect(link.chooseSizing("largest")).toEqual([
      { do: "control", frame: { type: "sizing", rule: "largest" } },
    ]);
  });

  test("is chosen between windows that have names", () => {
    const named = new TerminalConnection(nothing, size, "Firefox on Linux");
    expect(named.query()["label"]).toBe("Firefox on Linux");
  });
});
