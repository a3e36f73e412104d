import { afterEach, expect, test, vi } from "vitest";

vi.stubGlobal("location", { pathname: "/workspaces/s-1", href: "http://test/workspaces/s-1" });
const { list, MAX_LISTED } = await import("./files");

afterEach(() => vi.unstubAllGlobals());

/** Serve a directory of so many names in pages; returns what was asked for. */
function serve(names: string[], pageSize: number): string[] {
  const asked: string[] = [];
  vi.stubGlobal("fetch", async (address: string) => {
    asked.push(address);
    const query = address.split("?after=")[1];
    const start = query === undefined ? 0 : names.findIndex((each) => encode(each) === query) + 1;
    const some = names.slice(start, start + pageSize);
    const entries = some.map((name) => ({ name, type: "file", size: 0, mtime: 0 }));
    const next = start + pageSize < names.length ? some.at(-1) : null;
    return new Response(JSON.stringify({ path: "", entries, truncated: next !== null, next }), {
      headers: { "content-type": "application/json" },
    });
  });
  return asked;
}

const encode = (name: string) => (name === "\udcff" ? "%FF" : encodeURIComponent(name));

test("all pages of a directory are listed, in the order of people", async () => {
  const asked = serve(["a&b", "n10", "n9", "\udcff", "ü"], 2);
  const { entries, truncated } = await list("");
  expect(new Set(entries.map((entry) => entry.name))).toEqual(new Set(["a&b", "n10", "n9", "\udcff", "ü"]));
  expect(entries.findIndex((e) => e.name === "n9")).toBeLessThan(entries.findIndex((e) => e.name === "n10"));
  expect([asked.length, truncated]).toEqual([3, false]);
});

test("a directory of very many names is cut, and says so", async () => {
  const asked = serve(Array.from({ length: MAX_LISTED + 1 }, (_, number) => `${number}`), 10_000);
  const { entries, truncated } = await list("");
  expect([entries.length, truncated, asked.length]).toEqual([MAX_LISTED, true, 10]);
});
