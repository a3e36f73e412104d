import { expect, test } from "vitest";
import { match, ranked } from "./fuzzy";

const best = (query: string, ...paths: string[]) => ranked(query, paths, 10).map((each) => each.path);

test("every letter must be there, in its order", () => {
  expect(match("abc", "a/b/c")).not.toBeNull();
  expect(match("acb", "a/b/c")).toBeNull();
  expect(match("A B", "xaxb")).not.toBeNull();
  expect(match("", "a")).not.toBeNull();
});

test("names come before folders, beginnings of words before letters within them", () => {
  expect(best("main", "main/readme.md", "src/main.py")).toEqual(["src/main.py", "main/readme.md"]);
  expect(best("tt", "src/attic.ts", "src/tree_tabs.ts")[0]).toBe("src/tree_tabs.ts");
  expect(best("ts", "treeStore.js", "tabsets.js")[0]).toBe("treeStore.js");
  expect(best("util", "lib/utils/a.py", "lib/util.py")[0]).toBe("lib/util.py");
});

test("of equal fits the shorter path is the first", () => {
  expect(best("a.py", "one/two/a.py", "one/a.py", "a.py")).toEqual(["a.py", "one/a.py", "one/two/a.py"]);
});

test("the places are those of the letters", () => {
  const path = "src/tree_tabs.ts";
  for (const query of ["tt", "tabs", "srtabs", "ets"]) {
    const { places } = match(query, path)!;
    expect(places.map((at) => path[at]).join("")).toBe(query);
    expect([...places].sort((a, b) => a - b)).toEqual(places);
  }
});
