/*
 * A STAND-IN for fractal-web, for tests only. fractal-web's release archives can't be had from a package index, so this
 * small server takes its place. It keeps to what an upgrade touches of the real releases 1.20 to 1.22: the layout of
 * the archive, the environment variables, `/alive`, the way to the server's API, and logging in: the pages `/`,
 * `/auth/login`, `/auth/login/oauth2` (where the OpenID provider sends users back) and `/v2/projects`, which is a heading.
 */
import { createServer, request } from 'node:http';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const [major, minor] = version.split('.').map(Number);
const knowsProfiles = major > 1 || minor >= 21;
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
if (knowsProfiles && env.FRACTAL_DEFAULT_GROUP_NAME && env.FRACTAL_DEFAULT_GROUP_NAME !== 'All') {
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

const page = (title, body, user = null) => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${title}</title></head>
<body>${user ? `<nav id="user">${escape(user.email)}</nav>` : ''}${body}<footer>fractal-web ${version}</footer></body></html>
`;

/* A call of the server in the name of who is here: all cookies go with it. */
const ask = (path, { headers: { cookie } }) => fetch(server + path, { headers: cookie ? { cookie } : {} });

async function currentUser(incoming) {
  if (!/(^|; )fastapiusersauth=./.test(incoming.headers.cookie)) return null;
  const response = await ask('/auth/current-user/?group_ids_names=false', incoming).catch(() => null);
  return response?.ok ? await response.json() : null;
}

const mayNothing = (user) => knowsProfiles && !user.is_superuser && (user.profile_id === null || !user.is_verified);

async function home(user) {
  const { fractal_server_alive, fractal_server_version } = await alive();
  const state = fractal_server_alive ? `fractal-server ${escape(fractal_server_version)}` : 'fractal-server is not available';
  const group = knowsProfiles ? `<p>Default group: ${escape(env.FRACTAL_DEFAULT_GROUP_NAME || 'none')}</p>` : '';
  const support = escape(env.PUBLIC_FRACTAL_ADMIN_SUPPORT_EMAIL ?? '');
  const refused = 'This user is not authorized to use this Fractal instance - please contact';
  return page('Fractal', `<h1>Fractal</h1><p>${state}</p>
<p>Runner: ${escape(env.FRACTAL_RUNNER_BACKEND)}</p>${group}<a href="/auth/login">Login</a>
${user && mayNothing(user) ? `<p role="alert">${refused} ${support}.</p>` : ''}<p role="alert" id="message"></p><script>
document.getElementById('message').textContent = sessionStorage.getItem('temporary-message');
sessionStorage.removeItem('temporary-message');
</script>`, user);
}

const institutional = (client) => `<button id="oauth">Log in with institutional account</button><script>
document.getElementById('oauth').onclick = async () => {
  const response = await fetch('/api/auth/' + ${JSON.stringify(client)} + '/authorize');
  location.replace((await response.json()).authorization_url);
};
</script>`;

function login(user, problem = '') {
  const client = env.PUBLIC_OAUTH_CLIENT_NAME;
  return page('Login', `${client ? institutional(client) : ''}
<details ${problem || !client ? 'open' : ''}><summary>Log in with username &#38; password</summary><form method="post">
<input name="username" type="email" required><input name="password" type="password" required><p role="alert">${problem}</p>
<button>Log in</button></form></details>`, user);
}

/* The token of the server becomes a cookie of the web's own, for as long as the token is good. */
function enter(outgoing, token) {
  const { exp } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  outgoing.setHeader('set-cookie', [
    `${env.AUTH_COOKIE_NAME || 'fastapiusersauth'}=${token}`,
    `Domain=${env.AUTH_COOKIE_DOMAIN || new URL(env.ORIGIN).hostname}`,
    `Path=${env.AUTH_COOKIE_PATH || '/'}`,
    `Expires=${new Date(exp * 1000).toUTCString()}`,
    `HttpOnly; SameSite=${env.AUTH_COOKIE_SAME_SITE || 'lax'}${env.AUTH_COOKIE_SECURE === 'false' ? '' : '; Secure'}`,
  ].join('; '));
  redirect(outgoing, '/v2/projects');
}

async function enterByPassword(incoming, outgoing) {
  if (incoming.headers.origin !== env.ORIGIN) {
    return send(outgoing, 403, 'text/plain', 'Cross-site POST form submissions are forbidden');
  }
  const sent = new Response(await text(incoming), { headers: { 'content-type': incoming.headers['content-type'] } });
  const response = await fetch(`${server}/auth/token/login/`, { method: 'POST', body: await sent.formData() }).catch(() => null);
  if (!response?.ok) return send(outgoing, 400, 'text/html', login(null, 'Invalid credentials'));
  enter(outgoing, (await response.json()).access_token);
}

/* Headers.getSetCookie is what the real one uses too: Node before 18.14.1 has none, and this is an error 500. */
async function enterByProvider(incoming, outgoing, query) {
  if (!query) return send(outgoing, 400, 'text/html', page('Error', 'Missing query string'));
  const response = await ask(`/auth/${env.PUBLIC_OAUTH_CLIENT_NAME}/callback/${query}`, incoming);
  if (!response.ok) {
    const result = await response.json();
    if (!knowsProfiles || !('detail' in result)) {
      return send(outgoing, 400, 'text/html', page('Error', escape(JSON.stringify(result))));
    }
    return send(outgoing, 200, 'text/html', page('Fractal', `Loading...<script>
sessionStorage.setItem('temporary-message', ${JSON.stringify(String(result.detail)).replaceAll('<', '\\u003c')});
location.replace('/');
</script>`));
  }
  const tokens = response.headers.getSetCookie().map((cookie) => cookie.match(/fastapiusersauth=([^;]*);/)?.[1]);
  const token = tokens.find(Boolean);
  if (!token) return send(outgoing, 400, 'text/html', page('Error', 'FastAPI token not found in response cookies'));
  enter(outgoing, token);
}

/* `/api/auth/...` of the web is `/auth/...` of the server; the rest of `/api/...` keeps its path. */
function forward(incoming, outgoing) {
  const path = incoming.url.replace(/^\/api\/auth\//, '/auth/').replace(/^([^?]*[^?/])(\?|$)/, '$1/$2');
  const names = ['content-type', 'cookie'].filter((name) => incoming.headers[name]);
  const headers = Object.fromEntries(names.map((name) => [name, incoming.headers[name]]));
  const call = request(server + path, { method: incoming.method, headers }, (answer) => {
    outgoing.writeHead(answer.statusCode, answer.headers);
    answer.pipe(outgoing);
  });
  call.on('error', (error) => send(outgoing, 500, 'application/json', JSON.stringify({ message: error.message })));
  incoming.pipe(call);
}

function send(outgoing, status, type, body) {
  outgoing.writeHead(status, { 'content-type': `${type}; charset=utf-8` });
  outgoing.end(body);
}

function redirect(outgoing, location) {
  outgoing.writeHead(302, { location });
  outgoing.end();
}

async function answer(incoming, outgoing) {
  const { pathname, search } = new URL(incoming.url, 'http://web');
  if (Number(incoming.headers['content-length'] ?? 0) > 512 * 1024) {
    send(outgoing, 413, 'text/plain', 'Invalid request body');
  } else if (pathname === '/alive') {
    send(outgoing, 200, 'application/json', JSON.stringify({ alive: true, version, ...(await alive()) }));
  } else if (pathname === '/') {
    send(outgoing, 200, 'text/html', await home(await currentUser(incoming)));
  } else if (pathname === '/auth/login') {
    if (incoming.method === 'POST') await enterByPassword(incoming, outgoing);
    else send(outgoing, 200, 'text/html', login(await currentUser(incoming)));
  } else if (pathname === '/auth/login/oauth2') {
    await enterByProvider(incoming, outgoing, search);
  } else if (pathname === '/v2/projects') {
    const user = await currentUser(incoming);
    if (!(await alive()).fractal_server_alive) redirect(outgoing, '/?invalidate=true');
    else if (!user) redirect(outgoing, '/auth/login?invalidate=true');
    else if (mayNothing(user)) redirect(outgoing, '/');
    else send(outgoing, 200, 'text/html', page('Projects', '<h1>Projects</h1>', user));
  } else if (pathname.startsWith('/api/')) {
    forward(incoming, outgoing);
  } else {
    send(outgoing, 404, 'text/plain', 'Not found\n');
  }
}

createServer((incoming, outgoing) => {
  answer(incoming, outgoing).catch((error) => {
    console.error(error);
    send(outgoing, 500, 'text/html', page('Error', 'Internal Error'));
  });
}).listen(Number(env.PORT || 3000), env.HOST || '0.0.0.0', () => {
  console.log(`fractal-web ${version} listens on port ${env.PORT || 3000}`);
});
