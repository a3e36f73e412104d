import { expect, test } from "vitest";
import { baseName, encodePath, isText, isWithin, join, moved, nameProblem, outer, parent, shown, topmost } from "./paths";

test("the workspace itself has no name", () => {
  expect([join("", "a"), join("a", "b"), parent("a"), parent("a/b/c"), baseName("a/b")]).toEqual([
    "a",
    "a/b",
    "",
    "a/b",
    "b",
  ]);
});

test("a sibling with the same beginning is not within", () => {
  expect(isWithin("src2/a", "src")).toBe(false);
  expect(isWithin("src/a", "src")).toBe(true);
  expect(moved("src/a", "src", "lib")).toBe("lib/a");
  expect(moved("src2/a", "src", "lib")).toBe("src2/a");
});

test("what lies within another one of several is left to that one", () => {
  expect(topmost(["a/b", "a", "ab", "a/b/c", "d/e"])).toEqual(["a", "ab", "d/e"]);
});

test("names that lead elsewhere are refused", () => {
  for (const bad of ["", "/etc", "../x", "a//b", "a/./b", "a/", "a\0"]) {
    expect(nameProblem(bad)).not.toBeNull();
  }
  for (const good of ["a", "a b", "dir/new\nline", "…", ".hidden"]) expect(nameProblem(good)).toBeNull();
});

test("names that are not UTF-8 come back as the same bytes", () => {
  expect(encodePath("dir/caf\udce9 xé")).toBe("dir/caf%E9%20x%C3%A9");
  expect(encodePath("\udcff\udc80xA")).toBe("%FF%80xA");
  expect(encodePath("a b/ü/😀?#")).toBe("a%20b/%C3%BC/%F0%9F%98%80%3F%23");
});

test("what is no text is shown as such", () => {
  expect(shown("a\nb/\udce9/😀\u007f")).toBe("a↵b/\ufffd/😀\ufffd");
  expect([isText("naïve 😀"), isText("caf\udce9")]).toEqual([true, false]);
});

test("the directories above a path begin with the workspace", () => {
  expect(outer("a/b/c")).toEqual(["", "a", "a/b"]);
  expect(outer("a")).toEqual([""]);
});
