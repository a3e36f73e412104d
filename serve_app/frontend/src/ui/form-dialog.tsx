/** A dialog with a form: sends what was entered, and shows what was wrong with it. */

import type { ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";
import { explain } from "../lib/api";
import { Dialog } from "./dialog";

interface FormDialogProps {
  title: string;
  /** The label of the button that sends. */
  action: string;
  testId?: string;
  children: ComponentChildren;
  onClose: () => void;
  /** Sends the fields' values by their names. What it throws is shown; otherwise the dialog closes. */
  send: (values: Record<string, string>) => Promise<void>;
}

/** A mistake that the person can put right, in words for them. */
export class Problem extends Error {}

export function FormDialog({ title, action, testId, children, onClose, send }: FormDialogProps) {
  const form = useRef<HTMLFormElement>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [sending, setSending] = useState(false);
  const submit = async () => {
    setSending(true);
    setProblem(null);
    try {
      await send(Object.fromEntries(new FormData(form.current!)) as Record<string, string>);
      onClose();
    } catch (error) {
      setProblem(error instanceof Problem ? error.message : explain(error));
      setSending(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        ref={form}
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          if (!sending) void submit();
        }}
      >
        {children}
        {problem && (
          <p class="notice bad" role="alert">
            {problem}
          </p>
        )}
        <footer>
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="button primary" disabled={sending} data-testid={testId}>
            {action}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
