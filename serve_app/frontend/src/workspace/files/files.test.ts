import { expect, test, vi } from "vitest";

vi.stubGlobal("location", { pathname: "/workspaces/s-1", href: "http://test/workspaces/s-1" });
const { quoted } = await import("./files");

test("etags of receipts are quoted once", () => {
  expect([quoted("abc"), quoted('"abc"'), quoted(null)]).toEqual(['"abc"', '"abc"', null]);
});
