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

export function FormDialog({ title, onClose, send, ...form }: FormDialogProps) {
  const sendAndClose = async (values: Record<string, string>) => {
    await send(values);
    onClose();
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <Form {...form} send={sendAndClose} onCancel={onClose} />
    </Dialog>
  );
}

type FormProps = Omit<FormDialogProps, "title" | "onClose"> & { onCancel?: () => void };

/** The form itself, also outside of a dialog of its own. */
export function Form({ action, testId, children, send, onCancel }: FormProps) {
  const form = useRef<HTMLFormElement>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [sending, setSending] = useState(false);
  const submit = async () => {
    setSending(true);
    setProblem(null);
    try {
      await send(Object.fromEntries(new FormData(form.current!)) as Record<string, string>);
    } catch (error) {
      setProblem(error instanceof Problem ? error.message : explain(error));
    }
    setSending(false);
  };
  return (
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
        {onCancel && (
          <button type="button" class="button" onClick={onCancel}>
            Cancel
          </button>
        )}
        <button type="submit" class="button primary" disabled={sending} data-testid={testId}>
          {action}
        </button>
      </footer>
    </form>
  );
}
