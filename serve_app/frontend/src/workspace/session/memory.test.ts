import { expect, test, vi } from "vitest";

vi.stubGlobal("location", { pathname: "/workspaces/s-1", href: "http://test/workspaces/s-1" });
vi.stubGlobal("addEventListener", () => undefined);
const { expandedPatch, readMemory } = await import("./memory");
const { canMove } = await import("../files/tree-store");

test("open folders are remembered, the outer ones first, as many as fit", () => {
  expect(expandedPatch(["", "a/b/c", "a", "a/b"])).toEqual(["a", "a/b", "a/b/c"]);
  expect(expandedPatch(["ok", "no-text-\udcff"])).toEqual(["ok"]);
  const many = Array.from({ length: 500 }, (_, n) => `folder-${n}`);
  expect(expandedPatch(many)).toHaveLength(100);
  expect(expandedPatch(["short", "l".repeat(9000)])).toEqual(["short"]);
});

test("a state that somebody else wrote is read for what fits", () => {
  const memory = readMemory({ expanded_folders: ["a", 1, "", "a"], open_files: "x", layout: [] });
  expect(memory.expanded).toEqual(["a"]);
  expect(memory.openFiles).toEqual([]);
});

test("nothing is moved to where it is, and no folder into itself", () => {
  expect(canMove("a.txt", "folder")).toBe(true);
  expect(canMove("folder/a.txt", "")).toBe(true);
  expect(canMove("folder/a.txt", "folder")).toBe(false);
  expect(canMove("folder", "folder")).toBe(false);
  expect(canMove("folder", "folder/inner")).toBe(false);
  expect(canMove("folder", "folder-2")).toBe(true);
  expect(canMove("", "folder")).toBe(false);
});
