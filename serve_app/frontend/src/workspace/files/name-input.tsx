import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../../ui/icons";
import { openFile } from "../editor/editors";
import { nameProblem } from "./paths";
import { type Draft, draft, finishDraft } from "./tree-store";

/** A line of the tree in which a name is typed: Enter or leaving it accepts, Escape gives up. */
export function NameInput(props: { now: Draft; initial: string; style: { paddingLeft: string } }) {
  const input = useRef<HTMLInputElement>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useLayoutEffect(() => {
    const dot = props.initial.lastIndexOf(".");
    input.current?.focus();
    input.current?.setSelectionRange(0, dot > 0 ? dot : props.initial.length);
  }, []);
  const finish = async () => {
    const name = input.current?.value ?? "";
    if (draft.value !== props.now) return;
    if (name === "" || name === props.initial) {
      draft.value = null;
      return;
    }
    const wrong = nameProblem(name);
    setProblem(wrong);
    if (wrong) return;
    const made = await finishDraft(name);
    if (made !== null) await openFile(made, true);
  };
  const label = { file: "New file", directory: "New folder", rename: "New name" }[props.now.kind];
  return (
    <div class="tree-input" style={props.style}>
      <Icon name={props.now.kind === "directory" ? "folder" : "file"} />
      <input
        ref={input}
        class="input"
        aria-label={label}
        placeholder={props.initial || label}
        aria-invalid={problem !== null}
        defaultValue={props.initial}
        spellcheck={false}
        autocomplete="off"
        autocapitalize="off"
        onBlur={() => void finish()}
        onKeyDown={(event) => {
          event.stopPropagation();
          if (event.key === "Enter") void finish();
          if (event.key === "Escape") draft.value = null;
        }}
      />
      {problem && (
        <span class="tree-problem" role="alert">
          {problem}
        </span>
      )}
    </div>
  );
}
