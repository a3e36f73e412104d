import { Terminal } from "@xterm/headless";
import { expect, test } from "vitest";
import { cells, widths } from "./widths";

async function column(text: string): Promise<number> {
  const terminal = new Terminal({ allowProposedApi: true });
  terminal.unicode.register(widths);
  terminal.unicode.activeVersion = widths.version;
  await new Promise<void>((done) => terminal.write(text, done));
  return terminal.buffer.active.cursorX;
}

test.each([
  ["a", 1],
  ["漢", 2],
  ["😀", 2],
  ["🫠", 2], // Unicode 14
  ["🥷", 2],
  ["é", 1], // with a combining accent
  ["각", 2], // Hangul of three parts
  ["𠀀", 2], // beyond the second plane
  ["x\u{E0101}", 1], // beyond it, and of no width
  ["👨‍👩‍👧", 6], // programs add up what they know of each
])("%s takes %i cells", async (text, width) => {
  expect(await column(text)).toBe(width);
});

test("a sign that joins stays with the one before it", async () => {
  expect(await column("é漢x")).toBe(4);
});

test("controls take none", () => {
  expect([0, 7, 0x1f, 0x7f, 0x9f].map(cells)).toEqual([0, 0, 0, 0, 0]);
});
