import "./splitter.css";

interface SplitterProps {
  label: string;
  /** The direction in which the parts lie. */
  direction: "rows" | "columns";
  value: number;
  low: number;
  high: number;
  step: number;
  /** The value for a pointer's place; the element is the one that is divided. */
  measure: (box: DOMRect, x: number, y: number) => number;
  onChange: (value: number) => void;
}

/** A bar between two parts that is dragged, or moved with the arrow keys. */
export function Splitter(props: SplitterProps) {
  const change = (value: number) =>
    props.onChange(Math.min(Math.max(value, props.low), props.high));
  return (
    <div
      class={`splitter ${props.direction}`}
      role="separator"
      aria-label={props.label}
      aria-orientation={props.direction === "rows" ? "horizontal" : "vertical"}
      aria-valuenow={Math.round(props.value * (props.high <= 1 ? 100 : 1))}
      aria-valuemin={Math.round(props.low * (props.high <= 1 ? 100 : 1))}
      aria-valuemax={Math.round(props.high * (props.high <= 1 ? 100 : 1))}
      tabIndex={0}
      onPointerDown={(event) => {
        event.preventDefault();
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={(event) => {
        if (!event.currentTarget.hasPointerCapture(event.pointerId)) return;
        const box = event.currentTarget.parentElement!.getBoundingClientRect();
        change(props.measure(box, event.clientX, event.clientY));
      }}
      onKeyDown={(event) => {
        const less = event.key === "ArrowUp" || event.key === "ArrowLeft";
        if (!less && event.key !== "ArrowDown" && event.key !== "ArrowRight") return;
        event.preventDefault();
        change(props.value + (less ? -props.step : props.step));
      }}
    />
  );
}
