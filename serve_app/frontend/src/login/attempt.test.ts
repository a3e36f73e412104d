import { expect, test } from "vitest";
import { ApiError } from "../lib/api";
import { judge, safeNext } from "./attempt";

const answered = (status: number, retryAfter: number | null = null) =>
  judge(new ApiError(status, "x", "detail", retryAfter));

test("a wrong password is said and may be corrected at once", () => {
  expect(answered(401)).toMatchObject({ text: "Email or password is wrong.", waitSeconds: null });
});

test("too many tries wait as long as the server says, and are not repeated by the page", () => {
  expect(answered(429, 12.2)).toMatchObject({ waitSeconds: 13, automatic: false });
});

test("a busy server is tried again by the page", () => {
  expect(answered(503, 4)).toMatchObject({ waitSeconds: 4, automatic: true });
  expect(answered(503)).toMatchObject({ waitSeconds: 3, automatic: true });
  expect(answered(0)).toMatchObject({ automatic: true });
});

test("only paths of this server are followed", () => {
  expect(safeNext("/workspaces/s-1?x=1")).toBe("/workspaces/s-1?x=1");
  for (const bad of [null, "", "/", "//evil", "/\\evil", "https://evil", "evil", "/\t/evil"]) {
    expect(safeNext(bad)).toBeNull();
  }
});
