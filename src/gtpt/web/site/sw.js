/**
 * Keeps this folder for offline use, and answers with the headers that isolate a page (threads of WebAssembly need that),
 * so that any static host will do. `gtpt web` fills in the digest of the folder's content: another content is another cache.
 */
const CACHE = 'gtpt-__DIGEST__';
const CORE = ['./', 'site.json', ...JSON.parse('__FILES__')];

self.addEventListener('install', (event) => {
  const keep = async () => {
    const cache = await caches.open(CACHE);
    await cache.addAll(CORE.map((path) => new Request(path, { cache: 'reload' })));
  };
  // without room to keep the page it still has to be isolated
  event.waitUntil(keep().catch(() => {}).then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => {
  const forget = async () => {
    const others = (await caches.keys()).filter((name) => name.startsWith('gtpt-') && name !== CACHE);
    await Promise.all(others.map((name) => caches.delete(name)));
  };
  event.waitUntil(forget().catch(() => {}).then(() => self.clients.claim()));
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
  if (fresh.status === 200) event.waitUntil(cache?.put(event.request, fresh.clone()).catch(() => {}) ?? Promise.resolve());
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
