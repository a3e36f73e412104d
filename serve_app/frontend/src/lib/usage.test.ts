import { expect, test } from "vitest";
import { describe, describeDisk, explainUnarchived, isNearlyFull, isWorthSaying, parseLimit, table, type Usage } from "./usage";

const usage = (changes: Partial<Usage> = {}): Usage => ({
  file_bytes: { used: 1536, limit: 10 * 1024 },
  files: { used: 3, limit: null },
  journal_bytes: { used: 2048, limit: 2048 },
  containers: { used: 1, limit: 8 },
  sessions: { used: 2, limit: 8 },
  ...changes,
});

test("use is shown with its limit", () => {
  expect(describe("file_bytes", { used: 1536, limit: 10 * 1024 })).toBe("1.5 KiB of 10.0 KiB");
  expect(describe("files", { used: 3, limit: null })).toBe("3, no limit");
  expect(table(usage()).split("\n")).toHaveLength(5);
});

test("files that are nearly too much are said, output and what has no limit never", () => {
  expect(isNearlyFull(usage())).toBe(false);
  expect(isNearlyFull(usage({ file_bytes: { used: 9300, limit: 10 * 1024 } }))).toBe(true);
  expect(isNearlyFull(usage({ files: { used: 9, limit: 10 } }))).toBe(true);
});

test("what is not archived says why and what helps", () => {
  const one = explainUnarchived({ resource: "file_bytes", paths: 1, size: 2048 });
  expect(one).toContain("1 file is not archived (2.0 KiB): your quota of bytes");
  expect(explainUnarchived({ resource: "files", paths: 5, size: 0 })).toContain("5 files are");
  const left_out = [
    { path: "secret", reason: "unreadable" },
    { path: ".cache", reason: "excluded" },
  ];
  const unread = explainUnarchived({ resource: null, paths: 1, size: 5, left_out });
  expect(unread).not.toContain("quota");
  expect(unread).toContain("\nsecret: no permission to read");
  expect(unread).not.toContain(".cache");
});

test("what is left out by design is not worth saying", () => {
  expect(isWorthSaying({ resource: null, paths: 0, size: 0 })).toBe(false);
  expect(isWorthSaying({ resource: null, paths: 1, size: 0 })).toBe(true);
  expect(isWorthSaying(null)).toBe(false);
});

test("limits are typed as people write them", () => {
  expect(["", " 500 ", "20G", "128 MiB", "0"].map(parseLimit)).toEqual([
    null,
    500,
    20 * 1024 ** 3,
    128 * 1024 ** 2,
    0,
  ]);
  expect(["many", "-1", "1.5G"].map(parseLimit)).toEqual([undefined, undefined, undefined]);
});

test("a disk is said to be nearly full by its bytes or by its files", () => {
  const disk = (used: number, files: number) =>
    describeDisk({ bytes: { used, limit: 4096 }, files: { used: files, limit: 100 } });
  expect(disk(1024, 5)).toMatchObject({ text: "Disk 1.0 KiB of 4.0 KiB", nearly: false });
  expect(disk(1024, 5).title).toContain("files: 5 of 100");
  expect([disk(4000, 5).nearly, disk(0, 95).nearly]).toEqual([true, true]);
  const free = { bytes: { used: 10, limit: null }, files: { used: 1, limit: null } };
  expect(describeDisk(free)).toMatchObject({ text: "Disk 10 B, no limit", nearly: false });
});
