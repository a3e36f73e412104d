import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

export interface MenuItem {
  label: string;
  hint?: string;
  danger?: boolean;
  disabled?: boolean;
  checked?: boolean;
  href?: string;
  run?: () => void;
}

export type MenuEntries = (MenuItem | "separator")[];

interface MenuProps {
  entries: MenuEntries;
  at: { x: number; y: number };
  label: string;
  onClose: () => void;
}

/** A menu at a point: arrows, Home, End and Escape work as the ARIA practices say. */
export function Menu({ entries, at, label, onClose }: MenuProps) {
  const list = useRef<HTMLDivElement>(null);
  const [place, setPlace] = useState(at);
  useLayoutEffect(() => {
    const box = list.current?.getBoundingClientRect();
    if (!box) return;
    setPlace({
      x: Math.max(4, Math.min(at.x, innerWidth - box.width - 4)),
      y: Math.max(4, Math.min(at.y, innerHeight - box.height - 4)),
    });
  }, [at.x, at.y]);
  useLayoutEffect(() => {
    const before = document.activeElement;
    items(list.current)[0]?.focus();
    const outside = (event: Event) => {
      if (!list.current?.contains(event.target as Node)) onClose();
    };
    addEventListener("pointerdown", outside, true);
    addEventListener("blur", onClose);
    return () => {
      removeEventListener("pointerdown", outside, true);
      removeEventListener("blur", onClose);
      if (before instanceof HTMLElement && !document.querySelector("dialog[open]")) before.focus();
    };
  }, []);
  const onKeyDown = (event: KeyboardEvent) => {
    const all = items(list.current);
    const index = all.indexOf(document.activeElement as HTMLElement);
    const move: Record<string, number> = {
      ArrowDown: (index + 1) % all.length,
      ArrowUp: (index - 1 + all.length) % all.length,
      Home: 0,
      End: all.length - 1,
    };
    if (event.key === "Escape" || event.key === "Tab") onClose();
    else if (event.key in move) all[move[event.key]!]?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div
      ref={list}
      class="menu"
      role="menu"
      aria-label={label}
      style={{ left: `${place.x}px`, top: `${place.y}px` }}
      onKeyDown={onKeyDown}
    >
      {entries.map((entry, index) =>
        entry === "separator" ? (
          <hr key={index} />
        ) : (
          <MenuRow key={entry.label} item={entry} onClose={onClose} />
        ),
      )}
    </div>
  );
}

function MenuRow({ item, onClose }: { item: MenuItem; onClose: () => void }) {
  const content = (
    <>
      <span class="menu-check" aria-hidden="true">
        {item.checked ? "✓" : ""}
      </span>
      <span>{item.label}</span>
      {item.hint && <kbd>{item.hint}</kbd>}
    </>
  );
  if (item.href) {
    return (
      <a role="menuitem" tabIndex={-1} href={item.href}>
        {content}
      </a>
    );
  }
  return (
    <button
      type="button"
      role={item.checked === undefined ? "menuitem" : "menuitemcheckbox"}
      aria-checked={item.checked}
      tabIndex={-1}
      class={item.danger ? "danger" : ""}
      disabled={item.disabled}
      onClick={() => {
        onClose();
        item.run?.();
      }}
    >
      {content}
    </button>
  );
}

interface MenuButtonProps {
  label: string;
  class?: string;
  testId?: string;
  entries: () => MenuEntries;
  children: ComponentChildren;
}

/** A button that opens a menu below itself. */
export function MenuButton(props: MenuButtonProps) {
  const button = useRef<HTMLButtonElement>(null);
  const [at, setAt] = useState<{ x: number; y: number } | null>(null);
  return (
    <>
      <button
        ref={button}
        type="button"
        class={props.class ?? "icon-button"}
        aria-label={props.label}
        title={props.label}
        aria-haspopup="menu"
        aria-expanded={at !== null}
        data-testid={props.testId}
        onClick={() => {
          const box = button.current!.getBoundingClientRect();
          setAt(at ? null : { x: box.left, y: box.bottom + 4 });
        }}
      >
        {props.children}
      </button>
      {at && (
        <Menu label={props.label} at={at} entries={props.entries()} onClose={() => setAt(null)} />
      )}
    </>
  );
}

function items(list: HTMLElement | null): HTMLElement[] {
  return [...(list?.querySelectorAll<HTMLElement>('[role^="menuitem"]:not(:disabled)') ?? [])];
}
