/** The licences of what the built pages hold, as a file beside them: their authors ask for no more. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";

export const NOTICES = "third-party-notices.txt";

/** Tools that leave code of their own in what they build. */
const TOOLS = ["rolldown", "vite"];
const LICENCE = /^(licen[cs]e(-mit)?|copying)(\.(md|txt))?$/i;

interface Package {
  name: string;
  version: string;
  license: string;
  text: string;
}

/** Emits the notices of every package with a module in the bundle. Throws for one without a licence. */
export function notices(): Plugin {
  return {
    name: "notices",
    apply: "build",
    generateBundle() {
      const folders = new Set(TOOLS.map((name) => join(import.meta.dirname, "node_modules", name)));
      for (const id of this.getModuleIds()) {
        if (id.includes("/node_modules/")) folders.add(packageFolder(id.replace(/^\0/, "")));
      }
      const packages = [...folders].map(readPackage).sort((a, b) => (a.name < b.name ? -1 : 1));
      this.emitFile({ type: "asset", fileName: NOTICES, source: render(packages) });
    },
  };
}

/** The folder of the package that a module's file belongs to. */
function packageFolder(module: string): string {
  return /^.*\/node_modules\/(@[^/]+\/)?[^/]+/.exec(module)![0];
}

function readPackage(folder: string): Package {
  const manifest = readFileSync(join(folder, "package.json"), "utf8");
  const { name, version, license } = JSON.parse(manifest) as Package;
  const file = readdirSync(folder).find((each) => LICENCE.test(each));
  if (!license || !file) throw new Error(`${name} comes without a licence`);
  const whole = readFileSync(join(folder, file), "utf8");
  // What follows there is about what the tool itself is made of.
  const [text = ""] = whole.split(/^#* ?Licenses of bundled dependencies/m);
  return { name, version, license, text: text.trim() };
}

function render(packages: Package[]): string {
  const line = "-".repeat(78);
  return [
    "The pages of CODITECT Server hold code of the following packages.",
    ...packages.map(
      ({ name, version, license, text }) => `${line}\n${name} ${version} (${license})\n\n${text}`,
    ),
    "",
  ].join("\n\n");
}
