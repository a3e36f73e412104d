import { expect, test } from "vitest";
import { tarOf } from "./tar";

const text = (block: Uint8Array) => new TextDecoder().decode(block).replace(/\0.*$/s, "");

/** What an archive holds: names, kinds, modes, times and bytes, with the records of their extra headers. */
async function entriesOf(archive: Blob): Promise<unknown[][]> {
  const all = new Uint8Array(await archive.arrayBuffer());
  const found: unknown[][] = [];
  let at = 0;
  for (; all[at] !== 0; ) {
    const block = all.slice(at, at + 512);
    const field = (from: number, size: number) => text(block.subarray(from, from + size));
    const size = parseInt(field(124, 12), 8);
    const sum = parseInt(field(148, 8), 8);
    expect(block.fill(32, 148, 156).reduce((before, byte) => before + byte, 0)).toBe(sum);
    const body = text(all.subarray(at + 512, at + 512 + size));
    found.push([field(0, 100), field(156, 1), field(100, 8), parseInt(field(136, 12), 8), body]);
    at += 512 + Math.ceil(size / 512) * 512;
  }
  expect(all.length - at).toBe(1024);
  return found;
}

test("names, folders, times and bytes are in the archive", async () => {
  const long = `${"a".repeat(60)}/${"ä".repeat(60)}`;
  const edge = "e".repeat(990); // its record's length has a digit more than that of the rest
  const file = (bits: string, lastModified = 0) => new File([bits], "any", { lastModified });
  const archive = tarOf([
    { path: "ö/one.txt", file: file("one", 1_700_000_000_999) },
    { path: "x/empty", file: null },
    { path: long, file: file("z".repeat(512)) },
    { path: edge, file: file("") },
  ]);
  const [one, empty, pax, first, record, second] = await entriesOf(archive);
  expect(one).toEqual(["ö/one.txt", "0", "0000644", 1_700_000_000, "one"]);
  expect(empty).toEqual(["x/empty", "5", "0000755", 0, ""]);
  expect(pax).toEqual(["pax", "x", "0000644", 0, `191 path=${long}\n`]);
  expect(first!.slice(1)).toEqual(["0", "0000644", 0, "z".repeat(512)]);
  expect(record![4]).toBe(`1001 path=${edge}\n`);
  expect(second!.slice(1)).toEqual(["0", "0000644", 0, ""]);
});
