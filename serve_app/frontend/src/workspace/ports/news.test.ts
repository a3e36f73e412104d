import { expect, test } from "vitest";
import { announced, localAddress } from "./news";

test("an address of the machine inside is known in every spelling", () => {
  for (const host of ["localhost", "127.0.0.1", "0.0.0.0", "[::1]", "[::]", "LOCALHOST"]) {
    expect(localAddress(`http://${host}:5173/a?b#c`)).toEqual({ port: 5173, rest: "/a?b#c" });
  }
  expect(localAddress("http://localhost:8000")).toEqual({ port: 8000, rest: "/" });
  expect(localAddress("http://localhost:8000?a")).toEqual({ port: 8000, rest: "/?a" });
  expect(localAddress("http://localhost/x")).toEqual({ port: 80, rest: "/x" });
  expect(localAddress("https://localhost")).toEqual({ port: 443, rest: "/" });
});

test("any other address is left alone", () => {
  for (const uri of [
    "http://localhost.evil.com:80/",
    "http://localhost:80@evil.com/",
    "http://127.0.0.1.nip.io/",
    "http://example.com/?http://localhost:1",
    "http://localhost:70000/",
    "http://localhost:0/",
    "ftp://localhost:21/",
    "localhost:80",
  ]) {
    expect(localAddress(uri), uri).toBeNull();
  }
});

test("only what nobody knew is announced, and not too much at once", () => {
  const many = [1, 2, 3, 4, 5].map((port) => ({ port }));
  expect(announced(null, many)).toEqual([]);
  expect(announced(new Set([1, 2, 3, 4]), many)).toEqual([{ port: 5 }]);
  expect(announced(new Set(), many)).toHaveLength(3);
});
