/** The service worker: it keeps the page for offline use and isolates it, which is what threads need. */

const TRIED = 'gtpt-isolating';
const PATIENCE = 15_000; // milliseconds

/**
 * Hosts that send the isolating headers themselves need nothing; on others the service worker adds them from the second
 * load on, so the page loads itself once more.
 *
 * @returns {Promise<string>}  what the user should know; empty if all is well
 */
export async function prepareOffline() {
  if (!('serviceWorker' in navigator)) {
    const cause = self.isSecureContext
      ? 'this browser has no service workers'
      : 'the address is neither https nor localhost';
    return `Offline use${self.crossOriginIsolated ? ' is' : ' and threads are'} off: ${cause}.`;
  }
  try {
    await navigator.serviceWorker.register('sw.js');
    if (self.crossOriginIsolated || wasTried()) return '';
    const active = navigator.serviceWorker.ready.then(() => true);
    const late = new Promise((resolve) => setTimeout(resolve, PATIENCE, false));
    if (await Promise.race([active, late])) {
      location.reload();
      await new Promise(() => {}); // nothing else begins on a page that is about to go
    }
    return '';
  } catch (error) {
    return `This page cannot be kept for offline use: ${error instanceof Error ? error.message : error}`;
  }
}

/**
 * Once the page is up: keep all of it.
 *
 * @param {(why: string) => void} onTrouble
 */
export function keepOffline(onTrouble) {
  const { serviceWorker } = navigator;
  serviceWorker?.addEventListener('message', ({ data }) => onTrouble(data.notKept));
  void serviceWorker?.ready.then(({ active }) => active?.postMessage('keep'));
}

/** Reloading helps once; where it does not, the page goes on with one thread. */
function wasTried() {
  try {
    const tried = sessionStorage.getItem(TRIED) !== null;
    sessionStorage.setItem(TRIED, '1');
    return tried;
  } catch {
    return true;
  }
}
