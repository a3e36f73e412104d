/** Two texts side by side in a dialog, or one below the other where it is narrow. */

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Dialog } from "../../ui/dialog";
import { sayFailure } from "../../ui/toasts";
import { fontSize } from "../../lib/preferences";
import { narrow } from "../layout";
import { shown } from "../files/paths";
import "./diff.css";

export interface Side {
  name: string;
  text: string;
}

const open = signal<{ path: string; before: Side; after: Side } | null>(null);

export function compareTexts(path: string, before: Side, after: Side): void {
  open.value = { path, before, after };
}

export function DiffDialog() {
  const now = open.value;
  if (!now) return null;
  const close = () => {
    open.value = null;
  };
  return (
    <Dialog title={shown(now.path)} size="full" onClose={close}>
      <Diff path={now.path} before={now.before} after={now.after} />
    </Dialog>
  );
}

/** The difference itself. */
export function Diff({ path, before, after }: { path: string; before: Side; after: Side }) {
  const host = useRef<HTMLDivElement>(null);
  const together = narrow.value;
  useEffect(() => {
    let view: { destroy(): void } | null = null;
    let gone = false;
    import("./diff-view")
      .then(({ showDifference }) => {
        if (gone || !host.current) return;
        view = showDifference(host.current, path, before.text, after.text, together);
      })
      .catch((error) => sayFailure("The texts cannot be compared", error));
    return () => {
      gone = true;
      view?.destroy();
    };
  }, [path, before.text, after.text, together]);
  return (
    <>
      <div class="diff-names" aria-hidden="true">
        <span>− {before.name}</span>
        <span>+ {after.name}</span>
      </div>
      <div
        ref={host}
        class="diff"
        role="group"
        aria-label={`${before.name} and ${after.name}`}
        data-testid="diff"
        style={{ "--code-size": `${fontSize.value}px` }}
      />
    </>
  );
}
