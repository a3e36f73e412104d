/** Editor languages by file name. Each is a chunk of its own, loaded when a file needs it. */

import { type LanguageSupport, StreamLanguage, type StreamParser } from "@codemirror/language";

type Loader = () => Promise<LanguageSupport | StreamLanguage<unknown>>;

const legacy = async (parser: Promise<StreamParser<unknown>>) => StreamLanguage.define(await parser);

const shell: Loader = () => legacy(import("@codemirror/legacy-modes/mode/shell").then((m) => m.shell));
const toml: Loader = () => legacy(import("@codemirror/legacy-modes/mode/toml").then((m) => m.toml));
const docker: Loader = () =>
  legacy(import("@codemirror/legacy-modes/mode/dockerfile").then((m) => m.dockerFile));
const properties: Loader = () =>
  legacy(import("@codemirror/legacy-modes/mode/properties").then((m) => m.properties));
const javascript =
  (options: { jsx?: boolean; typescript?: boolean }): Loader =>
  () =>
    import("@codemirror/lang-javascript").then((m) => m.javascript(options));
const cpp: Loader = () => import("@codemirror/lang-cpp").then((m) => m.cpp());
const yaml: Loader = () => import("@codemirror/lang-yaml").then((m) => m.yaml());
const json: Loader = () => import("@codemirror/lang-json").then((m) => m.json());
const html: Loader = () => import("@codemirror/lang-html").then((m) => m.html());
const python: Loader = () => import("@codemirror/lang-python").then((m) => m.python());
const markdown: Loader = () => import("@codemirror/lang-markdown").then((m) => m.markdown());

const BY_EXTENSION: Record<string, Loader> = {
  js: javascript({ jsx: true }),
  mjs: javascript({}),
  cjs: javascript({}),
  jsx: javascript({ jsx: true }),
  ts: javascript({ typescript: true }),
  mts: javascript({ typescript: true }),
  tsx: javascript({ jsx: true, typescript: true }),
  py: python,
  pyi: python,
  html,
  htm: html,
  svg: html,
  xml: html,
  css: () => import("@codemirror/lang-css").then((m) => m.css()),
  json,
  jsonl: json,
  md: markdown,
  markdown,
  yaml,
  yml: yaml,
  rs: () => import("@codemirror/lang-rust").then((m) => m.rust()),
  go: () => import("@codemirror/lang-go").then((m) => m.go()),
  c: cpp,
  h: cpp,
  cc: cpp,
  cpp,
  cxx: cpp,
  hpp: cpp,
  sh: shell,
  bash: shell,
  zsh: shell,
  toml,
  ini: properties,
  cfg: properties,
  conf: properties,
  env: properties,
};

const BY_NAME: Record<string, Loader> = {
  Dockerfile: docker,
  ".bashrc": shell,
  ".profile": shell,
  ".bash_profile": shell,
  ".zshrc": shell,
};

/** The loader of a file's language; null for plain text. */
export function languageOf(name: string): Loader | null {
  const extension = name.slice(name.lastIndexOf(".") + 1).toLowerCase();
  return BY_NAME[name] ?? (name.includes(".") ? (BY_EXTENSION[extension] ?? null) : null);
}
