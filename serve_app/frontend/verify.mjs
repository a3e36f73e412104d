/** Builds the pages anew, elsewhere, and fails when `../static` holds anything else than that build. */

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { build } from "vite";

const committed = fileURLToPath(new URL("../static", import.meta.url));
const fresh = await mkdtemp(join(tmpdir(), "pages-"));
try {
  await build({ logLevel: "error", build: { outDir: fresh, emptyOutDir: true } });
  const differing = await differences(fresh, committed);
  if (differing.length > 0) {
    console.error(`serve_app/static is not what the sources build; run \`npm run build\`:`);
    for (const name of differing) console.error(`  ${name}`);
    process.exitCode = 1;
  }
} finally {
  await rm(fresh, { recursive: true });
}

/** The names of files that only one directory has, or whose content differs. */
async function differences(one, other) {
  const [left, right] = await Promise.all([contents(one), contents(other)]);
  const names = [...new Set([...left.keys(), ...right.keys()])].sort();
  return names.filter((name) => !left.get(name)?.equals(right.get(name) ?? Buffer.alloc(0)));
}

async function contents(directory) {
  const found = new Map();
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const bytes = await readFile(path);
    // Packed bytes differ between versions of zlib, and between processors; what is in them does not.
    found.set(path.slice(directory.length), path.endsWith(".gz") ? gunzipSync(bytes) : bytes);
  }
  return found;
}
