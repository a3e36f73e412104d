import headless from "@xterm/headless";
import { expect, test } from "vitest";
import { arrowKey, controlCharacter, freeName, markText, RESET_MODES } from "./text";

test("control characters are those of the keyboard", () => {
  expect(["c", "C", "[", " ", "?", "@"].map(controlCharacter)).toEqual([
    "\x03",
    "\x03",
    "\x1b",
    "\0",
    "\x7f",
    "\0",
  ]);
  expect([controlCharacter("1"), controlCharacter("ab")]).toEqual([null, null]);
});

test("arrows take the form the program asked for", () => {
  expect(arrowKey("A", false)).toBe("\x1b[A");
  expect(arrowKey("D", true)).toBe("\x1bOD");
});

test("names of new terminals are free", () => {
  expect(freeName([])).toBe("main");
  expect(freeName(["main", "shell-2", "shell-4"])).toBe("shell-3");
});

test("a loss is shown with its size", () => {
  expect(markText({ type: "truncated", bytes: 2048 })).toBe("2.0 KiB of output are no longer kept");
  expect(markText({ type: "truncated", bytes: null })).toBe("earlier output is no longer kept");
});

const written = async (text: string) => {
  const terminal = new headless.Terminal({ cols: 40, rows: 10, allowProposedApi: true });
  await new Promise<void>((resolve) => terminal.write(text, resolve));
  return terminal;
};
const cursor = ({ buffer: { active } }: Awaited<ReturnType<typeof written>>) => [
  active.cursorX,
  active.cursorY,
];

test("undoing a dead program's modes keeps the text and the cursor's place", async () => {
  const terminal = await written(`one\r\ntwo\r\n$ ${RESET_MODES}x`);
  expect(cursor(terminal)).toEqual([3, 2]);
  expect(terminal.buffer.active.getLine(2)?.translateToString(true)).toBe("$ x");
});

test("a dead full-screen program leaves the screen as it was before it", async () => {
  const begins = "\x1b[?1049h\x1b[?1002h\x1b[?2004h\x1b[?1h\x1b[?25l\x1b[2;5r\x1b[?6h\x1b[7mtext";
  const terminal = await written(`one\r\n$ vi${begins}\x1b[1${RESET_MODES}x`);
  expect(terminal.buffer.active.type).toBe("normal");
  expect(terminal.modes).toMatchObject({
    applicationCursorKeysMode: false,
    bracketedPasteMode: false,
    mouseTrackingMode: "none",
    originMode: false,
    wraparoundMode: true,
  });
  expect(cursor(terminal)).toEqual([5, 1]);
  expect(terminal.buffer.active.getLine(1)?.translateToString(true)).toBe("$ vix");
  expect(terminal.buffer.active.getLine(1)?.getCell(4)?.isInverse()).toBe(0);
});
