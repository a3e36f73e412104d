import { expect, test } from "vitest";
import { parseTable, separatorOf } from "./table";

const BOUNDS = { rows: 100, columns: 10, cells: 1000, characters: 20 };
const parse = (text: string, changes: Partial<typeof BOUNDS> = {}) =>
  parseTable(text, ",", { ...BOUNDS, ...changes });

test("quotes hold separators, line breaks and doubled quotes", () => {
  expect(parse('a,"b,c"\r\n"d ""e""","f\ng"\n').rows).toEqual([
    ["a", "b,c"],
    ['d "e"', "f\ng"],
  ]);
  expect(parse('a"b,"c"d\n').rows).toEqual([['a"b', "cd"]]);
});

test("rows end at every kind of line break, and the last one needs none", () => {
  for (const end of ["\n", "\r\n", "\r"]) expect(parse(`a${end}b`).rows).toEqual([["a"], ["b"]]);
  expect(parse("").total).toBe(0);
  expect(parse("a,").rows).toEqual([["a", ""]]);
  expect(parse("a,\nb").rows).toEqual([["a", ""], ["b"]]);
  expect(parse("a\n\nb\n").rows).toEqual([["a"], [""], ["b"]]);
  expect(parse("\ufeffa").rows).toEqual([["a"]]);
});

test("a quote that nobody closes ends with the text", () => {
  expect(parse('a,"b\nc').rows).toEqual([["a", "b\nc"]]);
});

test("only what is within the bounds is kept, and all of it is counted", () => {
  const text = "a,b,c\n".repeat(50);
  expect(parse(text, { rows: 3 })).toMatchObject({ rows: { length: 3 }, total: 50, columns: 3 });
  expect(parse(text, { columns: 2 }).rows[0]).toEqual(["a", "b"]);
  expect(parse(text, { cells: 7 }).rows.length).toBe(2);
  expect(parse("a,b\nc,d\ne\n", { cells: 3 })).toMatchObject({ rows: [["a", "b"]], total: 3 });
  expect(parse(`${"x".repeat(30)}\n`).rows[0]![0]).toBe(`${"x".repeat(20)}…`);
});

test("the separator is the one that the first line has most of, outside of quotes", () => {
  expect(separatorOf("a.csv", "a;b;c\n1,2;3")).toBe(";");
  expect(separatorOf("a.csv", '"a;b;c;d",e\n')).toBe(",");
  expect(separatorOf("a.TSV", "a,b,c")).toBe("\t");
  expect(separatorOf("a.csv", "one")).toBe(",");
});
