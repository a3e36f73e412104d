import { expect, test } from "vitest";
import { lineOf, summary } from "./output";

test("a line has a number and its text without the end of a line", () => {
  expect(lineOf({ path: "a\udc80", line: 12, text: "x: 3:y\r" })).toEqual({ path: "a\udc80", line: 12, text: "x: 3:y" });
  expect(lineOf({ path: "a", line: null })).toEqual({ path: "a", line: 1, text: "" });
});

test("a search that was ended before all was looked through says so", () => {
  expect(summary(null, "2 lines")).toBe("2 lines");
  expect(summary(null, null)).toBe("Not found");
  expect(summary("limit", "1,000 lines")).toBe("The first 1,000 lines: there are more");
  expect(summary("time", null)).toBe("Nothing so far: it took too long, and not all was looked through");
  expect(summary("bytes", "2 lines")).toContain("2 lines so far: there is too much to read");
});
