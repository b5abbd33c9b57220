/** Small tools for the document. */

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Partial<Record<string, string | number | boolean>>} [attributes]  `false` leaves one out
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) made.setAttribute(name, value === true ? '' : String(value));
  }
  made.append(...children);
  return made;
}

const STAYS = 8000; // milliseconds
const MOST_MESSAGES = 3;

/**
 * Say something to the user, in sight and to screen readers; problems stay until they are dismissed.
 *
 * @param {string} text
 * @param {'note' | 'problem'} [kind]
 */
export function say(text, kind = 'note') {
  const list = byId(kind === 'problem' ? 'problems' : 'notes', HTMLElement);
  for (const same of [...list.children]) if (same.firstChild?.textContent === text) same.remove();
  const close = element('button', { type: 'button', class: 'quiet', 'aria-label': 'Dismiss' }, '✕');
  const message = element('div', { class: `message ${kind}` }, element('span', {}, text), close);
  close.addEventListener('click', () => message.remove());
  list.append(message);
  while (list.children.length > MOST_MESSAGES) list.firstElementChild?.remove();
  if (kind === 'note') setTimeout(() => message.remove(), STAYS);
}

/** @param {unknown} error @returns {string} */
export function reason(error) {
  return error instanceof Error ? error.message : String(error);
}

let waiting = 0;

/**
 * Show that something takes a moment.
 *
 * @param {string} text
 * @returns {() => void}  call it when done
 */
export function busy(text) {
  const sign = byId('busy', HTMLElement);
  waiting += 1;
  sign.hidden = false;
  byId('busy-text', HTMLElement).textContent = `${text}…`;
  let open = true;
  return () => {
    if (open) waiting -= 1;
    open = false;
    sign.hidden = waiting === 0;
  };
}
