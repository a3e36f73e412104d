import { Terminal } from "@xterm/headless";
import { describe, expect, test } from "vitest";
import { guardQueries } from "./queries";

const QUERIES: Record<string, string> = {
  "DA1": "\x1b[c",
  "DA1 with a parameter": "\x1b[0c",
  "DA2": "\x1b[>c",
  "DA3": "\x1b[=c",
  "DECID": "\x1bZ",
  "DSR": "\x1b[5n",
  "CPR": "\x1b[6n",
  "DECXCPR": "\x1b[?6n",
  "colour scheme": "\x1b[?996n",
  "DECRQM": "\x1b[4$p",
  "DECRQM private": "\x1b[?2026$p",
  "DECRQSS": "\x1bP$qm\x1b\\",
  "XTGETTCAP": "\x1bP+q544e\x1b\\",
  "XTVERSION": "\x1b[>0q",
  "keyboard": "\x1b[?u",
  "palette": "\x1b]4;1;?\x07",
  "foreground": "\x1b]10;?\x07",
  "background, ended by ST": "\x1b]11;?\x1b\\",
  "cursor's colour": "\x1b]12;?\x07",
  "size in pixels": "\x1b[14t",
  "size in characters": "\x1b[18t",
  "focus reports": "\x1b[?1004h",
};

async function answers(query: string, live: boolean): Promise<string> {
  const terminal = new Terminal({
    allowProposedApi: true,
    windowOptions: { getWinSizeChars: true, getWinSizePixels: true },
  });
  const queries = guardQueries(terminal.parser, () => live);
  let typed = "";
  terminal.onData((text) => {
    if (queries.pass(text)) typed += text;
  });
  await new Promise<void>((done) => terminal.write(query, done));
  return typed;
}

describe("questions", () => {
  test.each(Object.entries(QUERIES))("%s: not answered in what is shown again", async (_, query) => {
    expect(await answers(query, false)).toBe("");
  });

  test.each(["DA1", "DA2", "DSR", "CPR", "DECXCPR", "DECRQM", "DECRQM private", "DECRQSS"])(
    "%s: answered where this emulator is to",
    async (name) => {
      expect(await answers(QUERIES[name]!, true)).not.toBe("");
    },
  );

  test("an answer is known from what is typed", async () => {
    const terminal = new Terminal({ allowProposedApi: true });
    const queries = guardQueries(terminal.parser, () => true);
    const asked: boolean[] = [];
    terminal.onData(() => asked.push(queries.takeAsked()));
    await new Promise<void>((done) => terminal.write("\x1b[c", done));
    terminal.input("x");
    expect(asked).toEqual([true, false]);
  });

  test("what asks for nothing is done in what is shown again", async () => {
    const terminal = new Terminal({ allowProposedApi: true });
    guardQueries(terminal.parser, () => false);
    await new Promise<void>((done) => terminal.write("a\x1b[sbc\x1b[u\x1b[2 qd\x1b[?1h", done));
    expect(terminal.buffer.active.getLine(0)?.translateToString(true)).toBe("adc");
    expect(terminal.modes.applicationCursorKeysMode).toBe(true);
  });
});
