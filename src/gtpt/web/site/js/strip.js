/** The photos that are open, small and in a row. */
import { byId, element } from './dom.js';

const THUMBNAIL = 112; // pixels

/**
 * @param {{name: string, photo: import('./media.js').Photo}[]} photos
 * @param {number | null} current  index of the photo in sight; null if it is none of them
 * @param {(at: number) => void} choose
 */
export function renderStrip(photos, current, choose) {
  const strip = byId('strip', HTMLElement);
  strip.hidden = photos.length < 2 || current === null;
  strip.replaceChildren(
    ...photos.map(({ name, photo: { picture } }, at) => {
      const pressed = String(at === current);
      const button = element('button', { type: 'button', title: name, 'aria-label': name, 'aria-pressed': pressed });
      const small = element('canvas', { 'aria-hidden': 'true' });
      const share = THUMBNAIL / Math.max(picture.width, picture.height);
      [small.width, small.height] = [picture.width, picture.height].map((side) =>
        Math.max(Math.round(side * share), 1),
      );
      small.getContext('2d')?.drawImage(picture, 0, 0, small.width, small.height);
      button.append(small);
      button.addEventListener('click', () => choose(at));
      return button;
    }),
  );
}
