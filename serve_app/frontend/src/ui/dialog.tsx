import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import { Icon } from "./icons";

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  size?: "wide" | "full" | "settings-dialog";
}

/** A modal dialog on the platform's own element: focus is kept inside, and given back afterwards. */
export function Dialog({ title, onClose, children, size }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useLayoutEffect(() => {
    const before = document.activeElement;
    element.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={`dialog ${size ?? ""}`}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown={(event) => {
        if (event.target === element.current) onClose();
      }}
    >
      <div class="dialog-body">
        <header>
          <h2 id={heading}>{title}</h2>
          <button type="button" class="icon-button" aria-label="Close" onClick={onClose}>
            <Icon name="close" />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}

interface Choice {
  value: string;
  label: string;
  kind?: "primary" | "danger";
}

interface Question {
  title: string;
  text: ComponentChildren;
  choices: Choice[];
  answer: (value: string | null) => void;
}

const question = signal<Question | null>(null);

/** Ask, and wait for the value of one of the choices; null when the dialog was closed. */
export function ask(
  title: string,
  text: ComponentChildren,
  choices: Choice[],
): Promise<string | null> {
  question.value?.answer(null);
  return new Promise((answer) => {
    question.value = { title, text, choices, answer };
  });
}

/** Ask whether to go on with something that cannot be undone. */
export async function confirm(
  title: string,
  text: ComponentChildren,
  label: string,
): Promise<boolean> {
  return (await ask(title, text, [{ value: "yes", label, kind: "danger" }])) === "yes";
}

/** The place of questions; once in each page. */
export function Questions() {
  const now = question.value;
  if (!now) return null;
  const finish = (value: string | null) => {
    question.value = null;
    now.answer(value);
  };
  return (
    <Dialog key={now} title={now.title} onClose={() => finish(null)}>
      <div class="dialog-text">{now.text}</div>
      <footer>
        <button type="button" class="button" autofocus onClick={() => finish(null)}>
          Cancel
        </button>
        {now.choices.map((choice) => (
          <button
            key={choice.value}
            type="button"
            class={`button ${choice.kind ?? ""}`}
            onClick={() => finish(choice.value)}
          >
            {choice.label}
          </button>
        ))}
      </footer>
    </Dialog>
  );
}
