export function Brand() {
  return (
    <span class="brand">
      <svg viewBox="0 0 32 32" aria-hidden="true" focusable="false">
        <rect width="32" height="32" rx="8" />
        <path d="M9 10.5 14.5 16 9 21.5" />
        <path class="cursor" d="M17 22h6.5" />
      </svg>
      <span class="brand-name">CODITECT</span>
    </span>
  );
}
