import { useMemo } from "preact/hooks";
import { type Bounds, parseTable, separatorOf } from "./table";

const BOUNDS: Bounds = { rows: 1001, columns: 100, cells: 20_000, characters: 400 };

interface TableViewProps {
  path: string;
  text: string;
  /** True if the text is only the beginning of a large file. */
  cut?: boolean;
}

/** A CSV or TSV file as a table; its first row has the names of the columns. */
export function TableView({ path, text, cut = false }: TableViewProps) {
  const table = useMemo(() => {
    // The last line of a part may be half a line.
    const whole = cut ? text.slice(0, text.lastIndexOf("\n") + 1) : text;
    return parseTable(whole, separatorOf(path, whole), BOUNDS);
  }, [path, text, cut]);
  const [head, ...body] = table.rows;
  if (!head) return <p class="pane-hint">This table is empty.</p>;
  const width = Math.min(table.columns, BOUNDS.columns);
  const columns = Array.from({ length: width }, (_, index) => index);
  const left = body.length + 1 < table.total;
  const count = (table.total - 1).toLocaleString();
  return (
    <>
      <p class="preview-note" role="status">
        {cut
          ? `The first ${body.length.toLocaleString()} rows of a large file`
          : left
            ? `The first ${body.length.toLocaleString()} of ${count} rows`
            : `${count} ${count === "1" ? "row" : "rows"}`}
        {table.columns > width && `, ${width} of ${table.columns.toLocaleString()} columns`}
      </p>
      <div class="preview-scroll" tabIndex={0} role="group" aria-label="Table">
        <table class="preview-table">
          <thead>
            <tr>
              <td />
              {columns.map((index) => (
                <th key={index} scope="col">
                  {head[index] ?? ""}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {body.map((row, number) => (
              <tr key={number}>
                <th scope="row">{number + 1}</th>
                {columns.map((index) => (
                  <td key={index} class={isNumber(row[index]) ? "number" : undefined}>
                    {row[index] ?? ""}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function isNumber(cell: string | undefined): boolean {
  return cell !== undefined && /^\s*[-+]?[\d.,]*\d\s*%?\s*$/.test(cell);
}
