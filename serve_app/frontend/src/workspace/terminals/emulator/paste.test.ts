import { expect, test } from "vitest";
import { cleanPaste } from "./paste";

test.each([
  ["plain text, ünïcode 漢 😀", "plain text, ünïcode 漢 😀"],
  ["a\nb\r\nc\rd\te", "a\rb\rc\rd\te"],
  ["echo harmless\x1b[201~\rtouch RAN\r", "echo harmless\rtouch RAN\r"],
  ["a\x9b201~b", "ab"],
  ["\x1b[31mred\x1b[0m", "red"],
  ["\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b", "ab"],
  ["\x1bPq#0\x1b\\x", "x"],
  ["\x03\x04\x1a\x7f\x00bell\x07\x08", "bell"],
  ["\u0080\u009f", ""],
])("%j is pasted as %j", (text, pasted) => {
  expect(cleanPaste(text)).toBe(pasted);
});

test.each(["\x1b\x1b[201~[201~", "\x1b[\x1b[201~201~", "\x1b[20\x001~", "\x9b\x9b201~201~"])(
  "no way of nesting leaves a control character: %j",
  (text) => {
    expect(cleanPaste(text)).not.toMatch(/[\x00-\x08\x0a-\x0c\x0e-\x1f\x7f-\x9f]/);
  },
);
