import type { ComponentChildren } from "preact";

interface ScrollProps {
  label: string;
  tall?: boolean;
  children: ComponentChildren;
}

/** A part that scrolls by itself: reachable with the keyboard, and named for who does not see it. */
export function Scroll({ label, tall, children }: ScrollProps) {
  return (
    <div class={tall ? "scroll tall" : "scroll"} role="group" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}
