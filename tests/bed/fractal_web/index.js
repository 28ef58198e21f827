/*
 * A STAND-IN for fractal-web, for tests only. fractal-web's release archives can't be had from a package index, so this
 * small server takes its place. It keeps to what an upgrade touches of the real releases 1.20 to 1.22: the layout of
 * the archive, the environment variables, `/alive`, the pages `/` and `/auth/login`, and the way to the server's API.
 */
import { createServer, request } from 'node:http';
import { readFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const [major, minor] = version.split('.').map(Number);
const knowsDefaultGroup = major > 1 || minor >= 21;
const env = process.env;

/* Since 1.22.0 the start ends at a value that is not among these (src/environment-variables.js). */
const levels = ['all', 'mark', 'trace', 'debug', 'info', 'warn', 'error', 'fatal', 'off'];
const allowed = {
  FRACTAL_RUNNER_BACKEND: ['local', 'slurm_sudo', 'slurm_ssh'],
  AUTH_COOKIE_SECURE: ['true', 'false'],
  LOG_LEVEL_FILE: levels,
  LOG_LEVEL_CONSOLE: levels,
};

for (const name of ['FRACTAL_SERVER_HOST', 'FRACTAL_RUNNER_BACKEND']) {
  if (!env[name]) {
    console.error(`fractal-web: missing environment variable ${name}`);
    process.exit(1);
  }
}
if (knowsDefaultGroup && env.FRACTAL_DEFAULT_GROUP_NAME && env.FRACTAL_DEFAULT_GROUP_NAME !== 'All') {
  console.error("fractal-web: FRACTAL_DEFAULT_GROUP_NAME must be 'All' or empty");
  process.exit(1);
}

for (const [name, values] of Object.entries(major > 1 || minor >= 22 ? allowed : {})) {
  if (env[name] && !values.includes(env[name])) {
    console.error(`fractal-web: ${name} has the value ${env[name]}, allowed are ${values.join(', ')}`);
    process.exit(2);
  }
}

const server = env.FRACTAL_SERVER_HOST.replace(/\/$/, '');

async function alive() {
  try {
    const response = await fetch(`${server}/api/alive/`, { signal: AbortSignal.timeout(20000) });
    const body = await response.json();
    return { fractal_server_alive: response.ok && body.alive, fractal_server_version: body.version };
  } catch {
    return { fractal_server_alive: false, fractal_server_version: null };
  }
}

const escape = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

const page = (title, body) => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${title}</title></head>
<body>${body}<footer>fractal-web ${version}</footer></body></html>
`;

async function home() {
  const { fractal_server_alive, fractal_server_version } = await alive();
  const state = fractal_server_alive ? `fractal-server ${escape(fractal_server_version)}` : 'fractal-server is not available';
  const group = knowsDefaultGroup ? `<p>Default group: ${escape(env.FRACTAL_DEFAULT_GROUP_NAME || 'none')}</p>` : '';
  return page('Fractal', `<h1>Fractal</h1><p>${state}</p>
<p>Runner: ${escape(env.FRACTAL_RUNNER_BACKEND)}</p>${group}<a href="/auth/login">Login</a>`);
}

function login() {
  const client = env.PUBLIC_OAUTH_CLIENT_NAME;
  const oauth = client ? `<a id="oauth" href="/api/auth/${escape(client)}/authorize">Login with ${escape(client)}</a>` : '';
  return page('Login', `<form method="post"><input name="username"><input name="password" type="password">
<button>Log in</button></form>${oauth}`);
}

/* `/api/auth/...` of the web is `/auth/...` of the server; the rest of `/api/...` keeps its path. */
function forward(incoming, outgoing) {
  const path = incoming.url.replace(/^\/api\/auth\//, '/auth/').replace(/^([^?]*[^?/])(\?|$)/, '$1/$2');
  const headers = { ...incoming.headers, host: new URL(server).host };
  const call = request(server + path, { method: incoming.method, headers }, (answer) => {
    outgoing.writeHead(answer.statusCode, answer.headers);
    answer.pipe(outgoing);
  });
  call.on('error', () => send(outgoing, 502, 'text/plain', 'fractal-server is not available\n'));
  incoming.pipe(call);
}

function send(outgoing, status, type, body) {
  outgoing.writeHead(status, { 'content-type': `${type}; charset=utf-8` });
  outgoing.end(body);
}

createServer(async (incoming, outgoing) => {
  const { pathname } = new URL(incoming.url, 'http://web');
  if (pathname === '/alive') {
    send(outgoing, 200, 'application/json', JSON.stringify({ alive: true, version, ...(await alive()) }));
  } else if (pathname === '/') {
    send(outgoing, 200, 'text/html', await home());
  } else if (pathname === '/auth/login') {
    send(outgoing, 200, 'text/html', login());
  } else if (pathname.startsWith('/api/')) {
    forward(incoming, outgoing);
  } else {
    send(outgoing, 404, 'text/plain', 'Not found\n');
  }
}).listen(Number(env.PORT || 3000), env.HOST || '0.0.0.0', () => {
  console.log(`fractal-web ${version} listens on port ${env.PORT || 3000}`);
});
