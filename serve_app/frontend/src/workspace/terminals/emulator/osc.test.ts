import { expect, test } from "vitest";
import { clipboardText, directoryOf, MAX_CLIPBOARD, safeLink } from "./osc";

test.each([
  ["c;aGVsbG8=", "hello"],
  [";aGVsbG8=", "hello"],
  ["pc;aGVsbG8=", "hello"],
  ["c;w7w=", "ü"],
  ["c;?", null],
  ["c;", null],
  ["c;not base64!", null],
  ["x;aGVsbG8=", null],
  ["aGVsbG8=", null],
  ["c;/w==", null], // not text
  [`c;${"A".repeat(MAX_CLIPBOARD + 4)}`, null],
])("what a program copies: %j", (data, text) => {
  expect(clipboardText(data)).toBe(text);
});

test.each([
  ["file://host/workspace/a%20b", "/workspace/a b"],
  ["file:///workspace", "/workspace"],
  ["file://host/%e4%b8%ad", "/中"],
  ["file://host/%ff", null],
  ["file://host/a%0ab", null],
  ["http://host/x", null],
  ["/workspace", null],
  ["file://host", null],
])("where a shell says it is: %j", (data, path) => {
  expect(directoryOf(data)).toBe(path);
});

test.each([
  ["https://example.com/a?b#c", "https://example.com/a?b#c"],
  ["HTTP://EXAMPLE.com", "http://example.com/"],
  ["mailto:a@example.com", "mailto:a@example.com"],
  ["javascript:alert(1)", null],
  [" javascript:alert(1)", null],
  ["data:text/html,x", null],
  ["file:///etc/passwd", null],
  ["vscode://x", null],
  ["no address", null],
])("where a link may lead: %j", (uri, href) => {
  expect(safeLink(uri)).toBe(href);
});
