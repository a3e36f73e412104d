import { type Theme, theme } from "../lib/preferences";
import { Icon, type IconName } from "./icons";

const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const ICONS: Record<Theme, IconName> = { system: "auto", light: "sun", dark: "moon" };
const NAMES: Record<Theme, string> = { system: "as the system", light: "light", dark: "dark" };

/** Cycles through the system's theme, light and dark. */
export function ThemeButton() {
  const now = theme.value;
  return (
    <button
      type="button"
      class="icon-button"
      aria-label={`Theme: ${NAMES[now]}. Change to ${NAMES[NEXT[now]]}`}
      title={`Theme: ${NAMES[now]}`}
      onClick={() => {
        theme.value = NEXT[now];
      }}
    >
      <Icon name={ICONS[now]} />
    </button>
  );
}
