import { expect, test } from "vitest";
import { foundLines, listedPaths } from "./output";

test("paths end with NUL, and one that was cut off is left out", () => {
  expect(listedPaths("a/b\0new\nline\0cut")).toEqual(["a/b", "new\nline"]);
  expect(listedPaths("")).toEqual([]);
});

test("lines have a path, a number and a text, whatever is in them", () => {
  expect(foundLines("a:1.py\0" + "12:x: 3:y\r\nb\0" + "1:\npiece of a name\n")).toEqual([
    { path: "a:1.py", line: 12, text: "x: 3:y" },
    { path: "b", line: 1, text: "" },
  ]);
});
