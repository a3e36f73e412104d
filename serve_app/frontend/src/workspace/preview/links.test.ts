import { expect, test } from "vitest";
import { slugOf, targetOf } from "./links";
import { mediaOf, mediaType, renderedAs, svgUrl } from "./kinds";

test("links lead to files from where they stand, and never out of the workspace", () => {
  const file = (path: string, slug = "") => ({ to: "file", path, slug });
  expect(targetOf("docs/a.md", "b.md#Part")).toEqual(file("docs/b.md", "part"));
  expect(targetOf("docs/a.md", "../img/x%20y.png?raw=1")).toEqual(file("img/x y.png"));
  expect(targetOf("docs/a.md", "/b.md")).toEqual(file("b.md"));
  for (const out of ["../../etc", "/..", "%2e%2e/%2e%2e/x", "%zz", "..\\x", "//host/x", "file:///x", "javascript:x"]) {
    expect(targetOf("docs/a.md", out)).toEqual({ to: "nowhere" });
  }
});

test("links to the web and to headings are told apart", () => {
  expect(targetOf("a.md", "https://x.test/a")).toEqual({ to: "web", href: "https://x.test/a" });
  expect(targetOf("a.md", "#How-it%20works")).toEqual({ to: "heading", slug: "how-it works" });
  expect(slugOf(" How it works: “really”? ")).toBe("how-it-works-really");
});

test("kinds follow from names, and no type is one that runs", () => {
  expect([mediaOf("a/B.PNG"), mediaOf("x.pdf"), mediaOf("x.html"), mediaOf("png")]).toEqual(["image", "pdf", null, null]);
  expect([renderedAs("README.md"), renderedAs("t.tsv"), renderedAs("x.svg"), renderedAs("constructor")]).toEqual([
    "markdown",
    "table",
    "svg",
    null,
  ]);
  expect([mediaType("x.svg"), mediaType("x.xml"), mediaType("a.toString")]).toEqual([null, null, null]);
  expect(svgUrl('<svg a="\ud800#"/>')).toBe("data:image/svg+xml;charset=utf-8,%3Csvg%20a%3D%22%EF%BF%BD%23%22%2F%3E");
});
