import { signal } from "@preact/signals";

export type SectionId = "environment" | "ssh" | "workspaces" | "password";

/** The section of the settings that is shown; null: they are closed. */
export const settingsSection = signal<SectionId | null>(null);

export function openSettings(section: SectionId = "environment"): void {
  settingsSection.value = section;
}
