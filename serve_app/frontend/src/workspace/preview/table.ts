/** Text with separators as a table (RFC 4180, as spreadsheets write it). Pure. */

export interface Table {
  /** As many rows as were asked for, of no more than so many cells. */
  rows: string[][];
  /** Rows in the whole text. */
  total: number;
  /** Cells of the longest of all rows. */
  columns: number;
}

export interface Bounds {
  rows: number;
  columns: number;
  /** Over all rows: a wide table has fewer of them. */
  cells: number;
  characters: number;
}

const SEPARATORS = [",", "\t", ";", "|"];
const PROBED_CHARACTERS = 4096;

/** The separator of a file: the one that its first line has most of. */
export function separatorOf(path: string, text: string): string {
  if (/\.tsv$/i.test(path)) return "\t";
  const line = text.slice(0, PROBED_CHARACTERS).split(/\r?\n|\r/, 1)[0]!.replace(/"[^"]*"?/g, "");
  const counts = SEPARATORS.map((each) => line.split(each).length);
  return SEPARATORS[counts.indexOf(Math.max(...counts))]!;
}

/** Read a table to its end, and keep what is within the bounds. Quotes that nobody closes end with the text. */
export function parseTable(text: string, separator: string, bounds: Bounds): Table {
  const rows: string[][] = [];
  const plainEnd = new RegExp(`[${separator === "\t" ? "\\t" : `\\${separator}`}\r\n]`, "g");
  let [row, width, total, columns, kept]: [string[], number, number, number, number] = [[], 0, 0, 0, 0];
  const take = (cell: string) => {
    width += 1;
    if (row.length < bounds.columns) row.push(clipped(cell, bounds.characters));
  };
  const endRow = () => {
    total += 1;
    columns = Math.max(columns, width);
    if (rows.length < bounds.rows && (rows.length === 0 || kept + row.length <= bounds.cells)) {
      rows.push(row);
      kept += row.length;
    } else kept = Infinity; // one row that was left out ends the part that is shown
    [row, width] = [[], 0];
  };
  let at = text.startsWith("\ufeff") ? 1 : 0;
  while (at < text.length) {
    let cell = "";
    if (text[at] === '"') {
      const quoted = quotedCell(text, at);
      cell = quoted.cell;
      at = quoted.end;
    }
    plainEnd.lastIndex = at;
    const end = plainEnd.exec(text)?.index ?? text.length;
    take(cell + text.slice(at, end));
    at = end + 1;
    if (text[end] === separator) {
      if (at < text.length) continue;
      take(""); // a separator at the very end: an empty cell follows
    }
    if (text[end] === "\r" && text[at] === "\n") at += 1;
    endRow();
  }
  return { rows, total, columns };
}

/** The cell whose opening quote is at `start`, and the place behind its closing one. */
function quotedCell(text: string, start: number): { cell: string; end: number } {
  let from = start + 1;
  let cell = "";
  for (;;) {
    const quote = text.indexOf('"', from);
    if (quote < 0) return { cell: cell + text.slice(from), end: text.length };
    cell += text.slice(from, quote);
    if (text[quote + 1] !== '"') return { cell, end: quote + 1 };
    cell += '"';
    from = quote + 2;
  }
}

function clipped(cell: string, characters: number): string {
  return cell.length > characters ? `${cell.slice(0, characters)}…` : cell;
}
