import { expect, test } from "vitest";
import { arrowKey, controlCharacter, freeName, markText } from "./terminal-text";

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

test("a loss is told with its size", () => {
  expect(markText({ type: "truncated", bytes: 2048 })).toBe("2.0 KiB of output are no longer kept");
  expect(markText({ type: "truncated", bytes: null })).toBe("earlier output is no longer kept");
});
