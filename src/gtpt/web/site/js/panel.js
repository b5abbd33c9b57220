/** The side of the page: figures, people, settings, and what the network looked at. */
import { byId, element } from './dom.js';
import { drawKept } from './draw.js';
import { cropOf, VISIBLE } from './geometry.js';
import { stageTitle } from './pruning.js';

const VIEW = 2; // pixels of a view per pixel that the network sees
const CALM = 0.8; // share of the old value in the running mean of times

/** @typedef {{change: (reestimate: boolean) => void, select: () => void, wantKept: () => void}} Hooks */

export class Panel {
  /** @type {import('./settings.js').Settings} */
  #settings;
  /** @type {Hooks} */
  #hooks;
  #selected = 0;
  #milliseconds = 0;
  #moving = false;
  /** @type {import('./engine.js').EngineFacts | null} */
  #facts = null;
  /** What a screen reader says about the picture. */
  summary = '';
  detectorName = '';

  /** @param {import('./settings.js').Settings} settings @param {Hooks} hooks */
  constructor(settings, hooks) {
    this.#settings = settings;
    this.#hooks = hooks;
    this.#bindSlider('threshold', 'threshold');
    this.#bindSlider('min-score', 'minScore');
    for (const name of /** @type {const} */ (['smooth', 'ids', 'boxes'])) {
      const box = byId(name, HTMLInputElement);
      box.checked = settings[name];
      box.addEventListener('change', () => {
        settings[name] = box.checked;
        hooks.change(false);
      });
    }
    for (const input of document.querySelectorAll('input[name="find"]')) {
      const radio = /** @type {HTMLInputElement} */ (input);
      radio.checked = radio.value === settings.find;
      radio.addEventListener('change', () => {
        settings.find = /** @type {any} */ (radio.value);
        hooks.change(true);
      });
    }
    const every = byId('detect-every', HTMLInputElement);
    every.value = String(settings.detectEvery);
    every.addEventListener('change', () => {
      settings.detectEvery = Math.min(Math.max(Math.round(Number(every.value)) || 1, 1), 99);
      every.value = String(settings.detectEvery);
      hooks.change(false);
    });
    byId('backend-choice', HTMLSelectElement).value = settings.backend;
    byId('pruning', HTMLDetailsElement).addEventListener('toggle', () => this.wantsKept && hooks.wantKept());
  }

  /** Whether what was pruned is to be shown, which the engine then tells. */
  get wantsKept() {
    return byId('pruning', HTMLDetailsElement).open && Boolean(this.#facts?.showsPruning);
  }

  /** Of people in sight: whoever has a box from somewhere else is, and scores without a calibration are no probabilities. */
  get leastScore() {
    return this.#sifts ? this.#settings.minScore : 0;
  }

  #sifts = false;

  /** @param {string} id @param {'threshold' | 'minScore'} name */
  #bindSlider(id, name) {
    const [slider, value] = [byId(id, HTMLInputElement), byId(`${id}-value`, HTMLOutputElement)];
    const show = () => (value.value = this.#settings[name].toFixed(2));
    slider.value = String(this.#settings[name]);
    slider.addEventListener('input', () => {
      this.#settings[name] = Number(slider.value);
      show();
      this.#hooks.change(false);
    });
    show();
  }

  /** @param {import('./engine.js').EngineFacts} facts */
  showEngine(facts) {
    this.#facts = facts;
    const { network, backend, threads } = facts;
    byId('backend', HTMLOutputElement).value = backend === 'webgpu' ? 'WebGPU' : 'WebAssembly';
    const cpu = threads === 1 ? '1 thread' : `${threads} threads`;
    byId('backend-detail', HTMLElement).textContent = backend === 'webgpu' ? 'graphics processor' : cpu;
    const [width, height] = network.inputSize;
    /** @type {[string, string][]} */
    const rows = [
      ['Network', `${network.name}, ${width}×${height}`],
      ['Skeleton', `${network.skeleton.name}, ${network.skeleton.keypoints.length} keypoints`],
      ['Scores', network.calibrated ? 'calibrated' : 'not calibrated: a rough scale'],
      ['Detector', this.detectorName || 'none'],
      ['Threads', self.crossOriginIsolated ? 'allowed' : 'not allowed: this page is not isolated'],
    ];
    byId('facts', HTMLElement).replaceChildren(
      ...rows.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]),
    );
  }

  /** @param {'detector' | 'whole' | 'hand'} find  in use @param {boolean} hasDetector */
  showFinding(find, hasDetector) {
    const wanted = this.#settings.find;
    const hints = {
      detector: '',
      whole: 'One person, who fills the picture.',
      hand: 'Draw a box around each person. In videos they are followed from there.',
    };
    const missing = wanted === 'detector' && !hasDetector;
    byId('find-hint', HTMLElement).textContent = missing
      ? 'There is no detector in this folder: drop a YOLOX file (.onnx) here. Until then the whole picture counts as one person.'
      : hints[find];
    byId('choose-detector', HTMLElement).hidden = !missing;
    for (const id of ['add-box', 'clear-boxes']) byId(id, HTMLElement).hidden = wanted !== 'hand';
    byId('every-row', HTMLElement).hidden = find !== 'detector';
    this.#sifts = find === 'detector' && Boolean(this.#facts?.network.calibrated);
    byId('min-score-row', HTMLElement).hidden = !this.#sifts;
    if (this.#facts) this.showEngine(this.#facts);
  }

  /** @param {import('./types.js').Timing} timing @param {boolean} moving  then a running mean is shown, which can be read */
  showTiming({ total, detect, pose }, moving) {
    const before = this.#moving && moving ? this.#milliseconds : total;
    this.#milliseconds = CALM * before + (1 - CALM) * total;
    this.#moving = moving;
    const output = byId('frame-ms', HTMLOutputElement);
    output.value = this.#milliseconds.toFixed(0);
    output.title = `last frame: detector ${detect.toFixed(0)} ms, poses ${pose.toFixed(0)} ms`;
  }

  /** @param {import('./types.js').Poses | null} poses @param {ImageBitmap | null} picture */
  showPeople(poses, picture) {
    const people = poses?.people ?? [];
    this.#selected = Math.min(this.#selected, Math.max(people.length - 1, 0));
    byId('people-count', HTMLOutputElement).value = poses ? String(people.length) : '–';
    byId('people-word', HTMLElement).textContent = people.length === 1 ? 'person' : 'people';
    byId('nobody', HTMLElement).hidden = people.length > 0;
    byId('nobody', HTMLElement).textContent = poses ? 'Nobody is found here.' : 'Nobody yet.';
    this.summary = poses ? `${people.length} ${people.length === 1 ? 'person' : 'people'}` : 'not looked at yet';
    this.#renderList(people);
    this.#renderKept(people[this.#selected], picture, poses);
  }

  /** @param {string} name  of the picture that is done */
  announce(name) {
    byId('summary', HTMLElement).textContent =
      `${name}: ${this.summary}, ${this.#milliseconds.toFixed(0)} milliseconds`;
  }

  /** @param {import('./types.js').Person[]} people  rows are reused, so that the keyboard's place stays in live pictures */
  #renderList(people) {
    const list = byId('people', HTMLUListElement);
    while (list.children.length > people.length) list.lastElementChild?.remove();
    while (list.children.length < people.length) list.append(this.#row(list.children.length));
    people.forEach((person, i) => {
      const button = /** @type {HTMLButtonElement} */ (list.children[i].firstElementChild);
      const [name, count, meter] = button.children;
      const seen = person.scores.filter((score) => score >= VISIBLE).length;
      name.textContent = person.id === null ? `Person ${i + 1}` : `Person ${person.id}`;
      count.textContent = `${seen} of ${person.scores.length} points`;
      /** @type {HTMLMeterElement} */ (meter).value = person.score;
      button.setAttribute('aria-pressed', String(i === this.#selected));
      button.setAttribute('aria-label', `${name.textContent}, score ${person.score.toFixed(2)}, ${count.textContent}`);
      button.title = `score ${person.score.toFixed(2)}`;
    });
  }

  /** @param {number} index */
  #row(index) {
    const meter = element('meter', { min: 0, max: 1, 'aria-hidden': 'true' });
    const parts = [element('span'), element('span', { class: 'count' }), meter];
    const button = element('button', { type: 'button' }, ...parts);
    button.addEventListener('click', () => {
      this.#selected = index;
      this.#hooks.select();
    });
    return element('li', {}, button);
  }

  /**
   * @param {import('./types.js').Person | undefined} person @param {ImageBitmap | null} picture
   * @param {import('./types.js').Poses | null} poses
   */
  #renderKept(person, picture, poses) {
    const hint = byId('pruning-hint', HTMLElement);
    const sheet = byId('pruning-sheet', HTMLElement);
    if (!byId('pruning', HTMLDetailsElement).open) return;
    hint.hidden = Boolean(person?.kept);
    hint.textContent =
      this.#facts && !this.#facts.showsPruning
        ? 'This file does not tell which patches it kept: `gtpt web --weights FILE` prepares one that does.'
        : 'Open a picture with somebody in it.';
    if (!person?.kept || !picture || !poses || !this.#facts) return sheet.replaceChildren();
    const { network } = this.#facts;
    const [width, height] = network.inputSize.map((side) => side * VIEW);
    const view = new OffscreenCanvas(width, height);
    const context = view.getContext('2d');
    if (!context) return;
    const crop = cropOf(person.box, network.inputSize);
    context.fillRect(0, 0, width, height);
    context.setTransform(crop.scale * VIEW, 0, 0, crop.scale * VIEW, crop.shift[0] * VIEW, crop.shift[1] * VIEW);
    context.drawImage(picture, 0, 0, ...poses.size);
    const patches = network.grid[0] * network.grid[1];
    sheet.replaceChildren(
      ...person.kept.map(({ stage, groups }) => {
        const row = element('div', { class: 'row' });
        groups.forEach((kept, g) => {
          const name = groups.length === 1 ? 'all groups' : network.skeleton.groups[g];
          const caption = `${name}: ${kept.length} of ${patches} patches`;
          const canvas = element('canvas', { role: 'img', 'aria-label': `${stageTitle(stage)}, ${caption}` });
          drawKept(canvas, view, [width, height], kept, network.grid);
          row.append(element('figure', {}, canvas, element('figcaption', {}, caption)));
        });
        return element('section', {}, element('h3', {}, stageTitle(stage)), row);
      }),
    );
  }

  /** @param {{kind: string, session?: import('./session.js').Session}} opened @param {import('./types.js').Poses | null} poses */
  showSaving({ kind, session }, poses) {
    for (const id of ['save-json', 'save-csv', 'save-picture'])
      byId(id, HTMLButtonElement).disabled = !poses || kind === 'none';
    const count = session?.length ?? 0;
    const frames = `${count} ${count === 1 ? 'frame' : 'frames'}`;
    const more = kind === 'video' ? '; “Every frame” looks at all of them' : '';
    const text = session?.complete ? `All ${frames}.` : `${frames} looked at so far${more}.`;
    byId('save-hint', HTMLElement).textContent = session && kind !== 'none' ? text : '';
  }
}
