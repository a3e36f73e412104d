import { expect, test, vi } from "vitest";

vi.stubGlobal("location", { pathname: "/workspaces/s-1", href: "http://test/workspaces/s-1" });
const { decode, lineBreak, quoted } = await import("./files");

test("text keeps its byte order mark, binary data is told apart", () => {
  expect(decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61]))).toBe("\ufeffa");
  expect(decode(new TextEncoder().encode("naïve …"))).toBe("naïve …");
  expect(decode(new Uint8Array([0x61, 0, 0x62]))).toBeNull();
  expect(decode(new Uint8Array([0xff, 0xfe, 0x61]))).toBeNull();
});

test("only a text whose lines all end in CRLF is edited as such", () => {
  expect(lineBreak("a\r\nb\r\n")).toBe("\r\n");
  expect(lineBreak("a\nb\n")).toBe("\n");
  expect(lineBreak("a\r\nb\n")).toBe("\n");
  expect(lineBreak("a\r\nb\rc\r\n")).toBe("\n");
  expect(lineBreak("")).toBe("\n");
});

test("etags of receipts are quoted once", () => {
  expect([quoted("abc"), quoted('"abc"'), quoted(null)]).toEqual(['"abc"', '"abc"', null]);
});
