import { expect, test } from "vitest";
import { decode, describeFormat, encode, lacking, NEW_FILE, type TextFormat } from "./text-file";

const bytes = (...values: (number | string)[]) =>
  new Uint8Array(values.flatMap((v) => (typeof v === "string" ? [...new TextEncoder().encode(v)] : [v])));

test("a byte order mark is kept and is no part of the text", () => {
  const file = decode(bytes(0xef, 0xbb, 0xbf, "a"))!;
  expect(file).toEqual({ text: "a", format: { encoding: "utf-8", bom: true, lineBreak: "\n" } });
  expect(encode("ab", file.format)).toEqual(bytes(0xef, 0xbb, 0xbf, "ab"));
  expect(decode(bytes(0xef, 0xbb, 0xbf))!.text).toBe("");
  // A second one is a character like any other.
  expect(decode(bytes(0xef, 0xbb, 0xbf, 0xef, 0xbb, 0xbf))!.text).toBe("\ufeff");
});

test("every text comes back byte for byte", () => {
  const cases = [
    bytes(""),
    bytes("naïve … 🙂 no newline at the end"),
    bytes("a\r\nb\r\n"),
    bytes("a\r\nb\rc\n"),
    bytes("old\rmac\r"),
    bytes("caf", 0xe9, " ", 0x80, 0x81, "\n"), // Windows-1252, with a byte that means nothing there
    bytes(0xff, 0xfe, 0x61, 0, 0x3d, 0xd8, 0x42, 0xde),
    bytes(0xfe, 0xff, 0, 0x61),
    new Uint8Array(9000).fill(0xe9),
  ];
  for (const each of cases) {
    const file = decode(each);
    expect(file, String(each)).not.toBeNull();
    expect(encode(file!.text, file!.format)).toEqual(each);
  }
});

test("formats are distinguished", () => {
  const format = (...values: (number | string)[]) => decode(bytes(...values))?.format;
  expect(format("a\nb")?.lineBreak).toBe("\n");
  expect(format("a\r\nb\r\n")?.lineBreak).toBe("\r\n");
  expect(format("a\rb")?.lineBreak).toBe("\r");
  expect(format("a\r\nb\n")?.lineBreak).toBe("mixed");
  expect(format("caf", 0xe9)?.encoding).toBe("windows-1252");
  expect(decode(bytes("caf", 0xe9))?.text).toBe("café");
  expect(decode(bytes(0x93, "x", 0x94))?.text).toBe("“x”");
});

test("what is no text is not shown as one", () => {
  expect(decode(bytes("a", 0, "b"))).toBeNull();
  expect(decode(bytes(0x89, "PNG", 0x1a, 0xff))).toBeNull();
  expect(decode(bytes(0xff, 0xfe, 0x61))).toBeNull(); // half a character
  expect(decode(bytes(0xff, 0xfe, 0x00, 0xd8))).toBeNull(); // half a pair
});

test("characters that an encoding lacks are found before they are lost", () => {
  const latin: TextFormat = { encoding: "windows-1252", bom: false, lineBreak: "\n" };
  expect(encode("€ ok", latin)).toEqual(bytes(0x80, " ok"));
  expect(encode("é → 🙂", latin)).toBeNull();
  expect(lacking("é → 🙂", "windows-1252")).toBe("→");
  expect(encode("half \ud800", NEW_FILE)).toBeNull();
});

test("only what is unusual is said", () => {
  expect(describeFormat(NEW_FILE)).toBeNull();
  expect(describeFormat({ encoding: "utf-8", bom: true, lineBreak: "\r\n" })).toBe("UTF-8 with BOM · CRLF");
});
