import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Icon } from "../ui/icons";
import "./tab-strip.css";

export interface StripTab {
  id: string;
  label: string;
  title?: string;
  /** Shown before the label. */
  before?: ComponentChildren;
  dirty?: boolean;
  /** True if it is shown together with the active one. */
  joined?: boolean;
}

interface TabStripProps {
  label: string;
  tabs: StripTab[];
  active: string | null;
  panel: string;
  onSelect: (id: string) => void;
  onClose: (id: string) => void;
  onRename?: (id: string) => void;
  children?: ComponentChildren;
}

/**
 * A row of tabs with arrow keys, Delete and middle click; what follows it stands at its end. A tab list
 * may hold nothing but tabs, so the crosses in it are for pointers only; one button behind it closes the
 * active tab for everybody else.
 */
export function TabStrip(props: TabStripProps) {
  const list = useRef<HTMLDivElement>(null);
  const active = props.tabs.find((tab) => tab.id === props.active);
  useEffect(() => {
    list.current
      ?.querySelector('[aria-selected="true"]')
      ?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [props.active, props.tabs.length]);
  const onKeyDown = (event: KeyboardEvent) => {
    const index = props.tabs.findIndex((tab) => tab.id === props.active);
    const count = props.tabs.length;
    const move: Record<string, number> = {
      ArrowRight: (index + 1) % count,
      ArrowLeft: (index - 1 + count) % count,
      Home: 0,
      End: count - 1,
    };
    const current = props.tabs[index];
    if (event.key in move) {
      const to = props.tabs[move[event.key]!];
      if (!to) return;
      props.onSelect(to.id);
      requestAnimationFrame(() =>
        list.current?.querySelector<HTMLElement>('[aria-selected="true"]')?.focus(),
      );
    } else if (event.key === "Delete" && current) props.onClose(current.id);
    else if (event.key === "F2" && current) props.onRename?.(current.id);
    else return;
    event.preventDefault();
  };
  return (
    <div class="tab-bar">
      <div
        ref={list}
        class="tab-list"
        role={props.tabs.length > 0 ? "tablist" : undefined}
        aria-label={props.tabs.length > 0 ? props.label : undefined}
        onKeyDown={onKeyDown}
      >
        {props.tabs.map((tab) => {
          const chosen = tab.id === props.active;
          return (
            <div
              key={tab.id}
              class={`tab ${chosen ? "active" : tab.joined ? "joined" : ""}`}
              title={tab.title}
              onMouseDown={(event) => {
                if (event.button === 1) event.preventDefault();
              }}
              onAuxClick={(event) => {
                if (event.button === 1) props.onClose(tab.id);
              }}
            >
              <button
                type="button"
                role="tab"
                class="tab-name"
                aria-selected={chosen}
                aria-controls={props.panel}
                tabIndex={chosen ? 0 : -1}
                onClick={() => props.onSelect(tab.id)}
                onDblClick={() => props.onRename?.(tab.id)}
              >
                {tab.before}
                <span>{tab.label}</span>
                {tab.dirty && <span class="tab-dirty" role="img" aria-label="not saved" />}
              </button>
              <button
                type="button"
                class="tab-close"
                aria-hidden="true"
                title={`Close ${tab.label}`}
                tabIndex={-1}
                onClick={() => props.onClose(tab.id)}
              >
                <Icon name="close" />
              </button>
            </div>
          );
        })}
      </div>
      {active && (
        <button
          type="button"
          class="button small until-focus"
          onClick={() => props.onClose(active.id)}
        >
          Close {active.label}
        </button>
      )}
      {props.children}
    </div>
  );
}
