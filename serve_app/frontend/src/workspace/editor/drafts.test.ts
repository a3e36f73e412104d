import { expect, test, vi } from "vitest";

vi.stubGlobal("location", { pathname: "/workspaces/s-1", href: "http://test/workspaces/s-1" });
const { excess, inherited, MAX_AGE_SECONDS, MAX_CHARACTERS, MAX_DRAFTS } = await import("./drafts");

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

const draft = (session: string, path: string, at: number) => ({
  session,
  path,
  at,
  text: `${session} ${at}`,
  format: { encoding: "utf-8", bom: false, eol: "\n" } as never,
  etag: null,
});

test("each window gets its own text back, and never that of another that is open", () => {
  const all = [draft("s-1/a", "f", 1), draft("s-1/b", "f", 2), draft("s-2/a", "f", 3)];
  const of = (mine: string, ...others: string[]) =>
    inherited(all, "s-1", { mine, others: new Set(others) }).map(({ session }) => session);
  expect(of("a", "b")).toEqual(["s-1/a"]);
  expect(of("b", "a")).toEqual(["s-1/b"]);
  expect(of("c", "a", "b")).toEqual([]);
});

test("what windows left behind goes to the next one, the newest of each file first", () => {
  const all = [draft("s-1/a", "f", 2), draft("s-1/b", "f", 1), draft("s-1/b", "g", 1), draft("s-1", "h", 1)];
  const found = inherited(all, "s-1", { mine: "c", others: new Set() });
  expect(found.map(({ session, path }) => `${session} ${path}`).sort()).toEqual(["s-1 h", "s-1/a f", "s-1/b g"]);
  const own = inherited([...all, draft("s-1/c", "f", 0)], "s-1", { mine: "c", others: new Set() });
  expect(own.find(({ path }) => path === "f")?.session).toBe("s-1/c");
});
