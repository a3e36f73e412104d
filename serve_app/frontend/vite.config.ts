import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";
import { notices } from "./notices.ts";

/**
 * Three pages, one bundle of shared chunks. The built files are served under /static/; `npm run dev`
 * serves the sources and passes API calls and sockets on to the server in CODITECT_URL.
 */
const server = process.env["CODITECT_URL"] ?? "http://127.0.0.1:8080";

const WORTH_PACKING_BYTES = 1024;

/** Puts a packed copy beside every file that gains by it: the server sends it to who takes gzip. */
function packed(): Plugin {
  return {
    name: "packed",
    apply: "build",
    generateBundle: {
      order: "post",
      handler(_options, bundle) {
        for (const file of Object.values(bundle)) {
          const source = Buffer.from(file.type === "chunk" ? file.code : file.source);
          if (source.length < WORTH_PACKING_BYTES) continue;
          this.emitFile({
            type: "asset",
            fileName: `${file.fileName}.gz`,
            source: gzipSync(source, { level: 9 }),
          });
        }
      },
    },
  };
}

/** Shows the pages under the server's own paths while developing. */
function pages(): Plugin {
  return {
    name: "pages",
    configureServer(server) {
      server.middlewares.use((request, _response, next) => {
        const path = request.url?.split("?")[0] ?? "";
        if (path === "/") request.url = "/static/login.html";
        else if (path === "/admin") request.url = "/static/admin.html";
        else if (path.startsWith("/workspaces/")) request.url = "/static/workspace.html";
        next();
      });
    },
  };
}

export default defineConfig({
  base: "/static/",
  plugins: [notices(), packed(), pages()],
  build: {
    outDir: "../static",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
    rollupOptions: { input: ["login.html", "workspace.html", "admin.html", "not-found.html"] },
  },
  server: {
    proxy: { "/api": { target: server, ws: true, changeOrigin: false } },
  },
});
