/**
 * Keeps this folder for offline use, and answers with the headers that isolate a page (threads of WebAssembly need that),
 * so that any static host will do. `gtpt web` fills in the digest of the folder's content: another content is another cache.
 */
const CACHE = 'gtpt-__DIGEST__';
const CORE = ['./', 'site.json', ...JSON.parse('__FILES__')];

// At once: a page waits for this to isolate itself. What it then fetches is kept on the way.
self.addEventListener('install', () => self.skipWaiting());

self.addEventListener('activate', (event) => {
  const forget = async () => {
    const others = (await caches.keys()).filter((name) => name.startsWith('gtpt-') && name !== CACHE);
    await Promise.all(others.map((name) => caches.delete(name)));
  };
  event.waitUntil(
    forget()
      .catch(() => {})
      .then(() => self.clients.claim()),
  );
});

// The page is up: keep what it has not asked for through this worker.
self.addEventListener('message', (event) => {
  const keep = async () => {
    const cache = await caches.open(CACHE);
    const missing = [];
    for (const path of CORE) if (!(await cache.match(path))) missing.push(path);
    await cache.addAll(missing);
  };
  event.waitUntil(keep().catch((error) => event.source?.postMessage({ notKept: String(error) })));
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const own = new URL(request.url).origin === self.location.origin;
  if (request.method === 'GET' && own) event.respondWith(answer(event));
});

async function answer(event) {
  const cache = await caches.open(CACHE).catch(() => null);
  const kept = await cache?.match(event.request, { ignoreSearch: true }).catch(() => undefined);
  if (kept) return isolated(kept);
  const fresh = await fetch(event.request);
  // the runtime is large and comes in variants: what was used once is kept
  if (fresh.status === 200 && cache) event.waitUntil(cache.put(event.request, fresh.clone()).catch(() => {}));
  return isolated(fresh);
}

function isolated(response) {
  if (response.type === 'opaque' || response.status === 0) return response;
  const headers = new Headers(response.headers);
  headers.set('Cross-Origin-Opener-Policy', 'same-origin');
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp');
  headers.set('Cross-Origin-Resource-Policy', 'same-origin');
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
