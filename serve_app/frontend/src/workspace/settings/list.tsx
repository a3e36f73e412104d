import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { explain } from "../../lib/api";
import { Icon } from "../../ui/icons";

/** What was read, or why it could not be; `again` reads it anew. */
export function useList<T>(read: () => Promise<T>): { found: T | null; problem: string | null; again: () => Promise<void> } {
  const [found, setFound] = useState<T | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const again = () =>
    read().then(
      (next) => {
        setFound(next);
        setProblem(null);
      },
      (error) => setProblem(explain(error)),
    );
  useEffect(() => void again(), []);
  return { found, problem, again };
}

interface ListProps<T> {
  list: { found: T[] | null; problem: string | null };
  none: string;
  row: (each: T) => ComponentChildren;
}

/** The list itself, or a word on why there is none. */
export function SettingList<T>({ list: { found, problem }, none, row }: ListProps<T>) {
  if (problem !== null) {
    return (
      <p class="notice bad" role="alert">
        {problem}
      </p>
    );
  }
  if (found === null) return <p class="dialog-text">Reading…</p>;
  if (found.length === 0) return <p class="dialog-text">{none}</p>;
  return <ul class="setting-list">{found.map(row)}</ul>;
}

export function RowButton({ icon, label, run }: { icon: "close" | "edit"; label: string; run: () => void }) {
  return (
    <button type="button" class="icon-button small" aria-label={label} title={label} onClick={run}>
      <Icon name={icon} />
    </button>
  );
}
