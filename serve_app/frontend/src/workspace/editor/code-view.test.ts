import { expect, test } from "vitest";
import { difference } from "./code-view";

const applied = (before: string, after: string) => {
  const { from, to, end } = difference(before, after);
  return before.slice(0, from) + after.slice(from, end) + before.slice(to);
};

test("only the part that differs is replaced", () => {
  expect(difference("one two three", "one 2 three")).toEqual({ from: 4, to: 7, end: 5 });
  expect(difference("same", "same")).toEqual({ from: 4, to: 4, end: 4 });
  expect(difference("log\n", "log\nmore\n")).toEqual({ from: 4, to: 4, end: 9 });
});

test("the replacement gives the other text, whatever repeats in them", () => {
  const texts = ["", "a", "aa", "aba", "abab", "ababab", "xaay", "xay", "aXa"];
  for (const before of texts) {
    for (const after of texts) expect(applied(before, after)).toBe(after);
  }
});
