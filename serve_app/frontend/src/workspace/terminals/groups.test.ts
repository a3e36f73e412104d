import { expect, test } from "vitest";
import { apart, border, groupOf, groupsPatch, MAX_SHOWN, readGroups, resized, together } from "./groups";

test("a terminal that is split shares its space with the new one", () => {
  const two = together([], "a", "b", "columns");
  expect(two).toEqual([{ direction: "columns", names: ["a", "b"], shares: [0.5, 0.5] }]);
  const three = together(two, "a", "c", "rows");
  expect(three).toEqual([{ direction: "columns", names: ["a", "c", "b"], shares: [0.25, 0.25, 0.5] }]);
});

test("a full group takes no more, and a terminal is in one group at most", () => {
  let groups = together([], "0", "1", "rows");
  for (let next = 2; next < MAX_SHOWN; next++) groups = together(groups, "0", `${next}`, "rows");
  expect(together(groups, "0", "more", "rows")).toEqual(groups);
  const moved = together([...together([], "a", "b", "rows"), ...together([], "c", "d", "rows")], "a", "d", "rows");
  expect(moved.map((group) => group.names)).toEqual([["a", "d", "b"]]);
});

test("who is left has the space of who went, and one alone is no group", () => {
  const three = together(together([], "a", "b", "rows"), "b", "c", "rows");
  const [left] = apart(three, "a");
  expect(left).toEqual({ direction: "rows", names: ["b", "c"], shares: [0.5, 0.5] });
  expect(apart([left!], "c")).toEqual([]);
  expect(groupOf(three, "c")?.names).toEqual(["a", "b", "c"]);
  expect([groupOf(three, "x"), groupOf(three, null)]).toEqual([null, null]);
});

test("a border moves between its two terminals, and leaves each some space", () => {
  const [group] = together(together([], "a", "b", "rows"), "b", "c", "rows");
  expect(border(group!, 0)).toBe(0.5);
  expect(resized(group!, 1, 0.6).shares.map((share) => share.toFixed(2))).toEqual(["0.50", "0.10", "0.40"]);
  expect(resized(group!, 0, 2).shares.map((share) => share.toFixed(2))).toEqual(["0.65", "0.10", "0.25"]);
});

test("stored groups are read for what fits", () => {
  const group = { direction: "rows", names: ["a", "b"], shares: [0.25, 0.75] };
  expect(readGroups(groupsPatch(readGroups([group])))).toEqual([group]);
  expect(readGroups([{ names: ["a", "b"], shares: ["x"] }])).toEqual([
    { direction: "columns", names: ["a", "b"], shares: [0.5, 0.5] },
  ]);
  const bad = [null, 1, {}, { names: ["a"] }, { names: ["a", "a"] }, { names: [1, 2] }, { names: "abc" }];
  expect(readGroups([...bad, group, { ...group, names: ["b", "c"] }])).toEqual([group]);
  expect([readGroups("x"), readGroups(undefined)]).toEqual([[], []]);
});
