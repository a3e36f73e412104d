import { expect, test, vi } from "vitest";

vi.stubGlobal("location", { pathname: "/workspaces/s-1", href: "http://test/workspaces/s-1" });
const { excess, MAX_AGE_SECONDS, MAX_CHARACTERS, MAX_DRAFTS } = await import("./drafts");

const kept = (key: string, at: number, size = 10) => ({ key, at, size });

test("within the bounds every draft stays", () => {
  expect(excess([kept("a", 100), kept("b", 90)], 100)).toEqual([]);
  expect(excess([kept("a", 0)], MAX_AGE_SECONDS)).toEqual([]);
});

test("the oldest go when there are too many, or too much in them", () => {
  const many = Array.from({ length: MAX_DRAFTS + 2 }, (_, at) => kept(`d${at}`, at));
  expect(excess(many, 100)).toEqual(["d1", "d0"]);
  const large = [kept("new", 3, MAX_CHARACTERS - 1), kept("middle", 2, 2), kept("old", 1, 1)];
  expect(excess(large, 3)).toEqual(["middle", "old"]);
});

test("a draft of last month is forgotten", () => {
  expect(excess([kept("old", 0), kept("new", 1)], MAX_AGE_SECONDS + 1)).toEqual(["old"]);
});
