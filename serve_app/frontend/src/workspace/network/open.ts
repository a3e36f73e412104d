import { signal } from "@preact/signals";

/** True while it is shown what the session may reach. */
export const networkOpen = signal(false);
