import { expect, test } from "vitest";
import { formatAgo, formatBytes, formatClock, formatMilliseconds, seconds, shortId } from "./format";

test("sizes keep three digits at most", () => {
  expect([0, 1023, 1024, 1536, 150 * 1024, 3 * 1024 ** 3].map(formatBytes)).toEqual([
    "0 B",
    "1023 B",
    "1.0 KiB",
    "1.5 KiB",
    "150 KiB",
    "3.0 GiB",
  ]);
});

test("durations change their unit", () => {
  expect([1.234, 45.6, 2345].map(formatMilliseconds)).toEqual(["1.2 ms", "46 ms", "2.3 s"]);
});

test("times of the future are now", () => {
  expect(formatAgo(100, 200)).toBe("now");
  expect(formatAgo(200, 80)).toBe("2 min ago");
});

test("times of the API are numbers or text", () => {
  expect(seconds(12.5)).toBe(12.5);
  expect(seconds("1970-01-01T00:01:00Z")).toBe(60);
  expect(seconds("soon")).toBeNull();
});

test("a time of day has its weekday when it is far", () => {
  const noon = 1_700_000_000 - (1_700_000_000 % 86400) + 12 * 3600;
  expect(formatClock(noon, noon + 3600, "en-GB", "UTC")).toBe("13:00");
  expect(formatClock(noon, noon + 86400, "en-GB", "UTC")).toMatch(/^Wed,? 12:00$/);
});

test("long ids are cut", () => {
  expect(shortId("c-0123456789abcdef")).toBe("c-01234567…");
  expect(shortId(null)).toBe("–");
});
