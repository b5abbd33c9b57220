/** The page: what is open, what is found in it, and the controls around it. */
import { busy, byId, reason, say } from './dom.js';
import { drawPoses } from './draw.js';
import { Engine } from './engine.js';
import { HandBoxes } from './hand_boxes.js';
import { closeVideo, everyFrame, nextFrame, openCamera, openVideo, openPhoto, scalePoses, seek } from './media.js';
import { keepOffline, prepareOffline } from './offline.js';
import { Panel } from './panel.js';
import { saveFrames, savePhoto, savePicture } from './saving.js';
import { Session } from './session.js';
import { loadSettings, saveSettings } from './settings.js';
import { renderStrip } from './strip.js';

const REDETECT_NEVER = Infinity;

/**
 * @typedef {object} Site  what `gtpt web` wrote about the folder
 * @property {string} runtime  folder
 * @property {number} min_score  least score of people whom a detector finds
 * @property {{file: string, name: string}} pose
 * @property {{file: string, name: string} | null} detector
 *
 * @typedef {object} OpenedPhoto
 * @property {string} name
 * @property {import('./media.js').Photo} photo
 * @property {import('./types.js').Detection[]} [boxes]  drawn by hand
 *
 * @typedef {object} Shown
 * @property {ImageBitmap} picture
 * @property {boolean} owned  whether it is closed when another one comes
 * @property {import('./types.js').Poses | null} poses
 *
 * @typedef {{kind: 'none'} | {kind: 'photo', name: string, at: number}
 *   | {kind: 'video' | 'camera', name: string, session: Session}} Opened
 */

class App {
  #canvas = byId('canvas', HTMLCanvasElement);
  #video = byId('video', HTMLVideoElement);
  #panel;
  #hand = new HandBoxes(byId('hand-layer', HTMLElement), () => void this.#estimateAgain());
  /** @type {Engine} */
  #engine;
  /** @type {Opened} */
  #opened = { kind: 'none' };
  /** @type {OpenedPhoto[]} */
  #photos = [];
  /** @type {Shown | null} what is on the canvas */
  #shown = null;
  #work = new AbortController(); // of what is open: a video that plays, an analysis
  #estimates = 0;

  /** @param {Engine} engine @param {import('./settings.js').Settings} settings */
  constructor(engine, settings) {
    this.#engine = engine;
    this.settings = settings;
    this.#panel = new Panel(settings, {
      change: (reestimate) => this.#settingsChanged(reestimate),
      select: () => this.#draw(),
      wantKept: () => void this.#estimateAgain(),
    });
    this.#bindFiles();
    this.#bindTransport();
    this.#bindSaving();
  }

  // ---- engine

  /** @param {ArrayBuffer} pose @param {string} name */
  async openNetwork(pose, name) {
    const done = busy(`Starting ${name}`);
    try {
      await this.#engine.open(pose, this.settings.backend);
      this.networkFile = { pose, name };
    } catch (error) {
      say(`${name} cannot be used: ${reason(error)}.`, 'problem');
    } finally {
      done();
    }
    this.#refreshFinding();
    await this.#restart();
  }

  /** @type {{pose: ArrayBuffer, name: string} | null} */
  networkFile = null;

  /** @param {ArrayBuffer} bytes @param {string} name */
  async openDetector(bytes, name) {
    const done = busy(`Starting ${name}`);
    try {
      await this.#engine.useDetector(bytes);
      this.#panel.detectorName = name;
    } catch (error) {
      say(`${name} cannot be used as a detector: ${reason(error)}.`, 'problem');
    } finally {
      done();
    }
    this.#refreshFinding();
    await this.#restart();
  }

  /** @param {import('./engine.js').EngineFacts} facts @param {string | null} lost */
  engineChanged(facts, lost) {
    this.#panel.showEngine(facts);
    if (lost !== null) say(`The graphics processor was lost (${lost}). It goes on in WebAssembly.`);
    if (facts.note) say(facts.note);
  }

  /** How people are found now: without a detector the whole picture stands in. */
  get #find() {
    return this.settings.find === 'detector' && !this.#engine.hasDetector ? 'whole' : this.settings.find;
  }

  #refreshFinding() {
    this.#panel.showFinding(this.#find, this.#engine.hasDetector);
    this.#hand.active = this.settings.find === 'hand' && this.#opened.kind !== 'none';
  }

  /** @param {boolean} reestimate  whether it changes what is found */
  #settingsChanged(reestimate) {
    saveSettings(this.settings);
    this.#refreshFinding();
    if (reestimate) void this.#restart();
    else this.#draw();
  }

  /** Another network, detector or way to find people: what was found before is void. */
  async #restart() {
    const { network } = this.#engine.facts ?? {};
    if ((this.#opened.kind === 'video' || this.#opened.kind === 'camera') && network) {
      this.#opened.session = new Session(network.skeleton);
    }
    await this.#estimateAgain();
  }

  // ---- opening

  #bindFiles() {
    const files = byId('file', HTMLInputElement);
    const onnx = byId('onnx', HTMLInputElement);
    for (const id of ['open', 'welcome-open']) byId(id, HTMLElement).addEventListener('click', () => files.click());
    for (const id of ['camera', 'welcome-camera']) {
      byId(id, HTMLElement).addEventListener('click', () => void this.#toggleCamera());
    }
    for (const id of ['choose-detector', 'choose-network']) {
      byId(id, HTMLElement).addEventListener('click', () => onnx.click());
    }
    for (const input of [files, onnx]) {
      input.addEventListener('change', () => {
        void this.openFiles([...(input.files ?? [])]);
        input.value = '';
      });
    }
    const stage = byId('stage', HTMLElement);
    const over = (/** @type {boolean} */ on) => {
      stage.classList.toggle('over', on);
      byId('drop-hint', HTMLElement).hidden = !on;
    };
    document.addEventListener('dragover', (event) => {
      event.preventDefault();
      over(true);
    });
    document.addEventListener('dragleave', (event) => event.relatedTarget === null && over(false));
    document.addEventListener('drop', (event) => {
      event.preventDefault();
      over(false);
      void this.openFiles([...(event.dataTransfer?.files ?? [])]);
    });
    document.addEventListener('paste', (event) => void this.openFiles([...(event.clipboardData?.files ?? [])]));
    byId('add-box', HTMLElement).addEventListener('click', () => this.#hand.add());
    byId('clear-boxes', HTMLElement).addEventListener('click', () => this.#hand.clear());
  }

  /** @param {File[]} files  photos, a video, networks: whatever was dropped or chosen */
  async openFiles(files) {
    const isModel = (/** @type {File} */ file) => file.name.toLowerCase().endsWith('.onnx');
    const isVideo = (/** @type {File} */ file) =>
      file.type.startsWith('video/') || /\.(mkv|m4v|mov|y4m)$/i.test(file.name);
    for (const file of files.filter(isModel)) await this.#openModel(file);
    const video = files.find(isVideo);
    const photos = files.filter((file) => !isModel(file) && !isVideo(file));
    if (photos.length) await this.#openPhotos(photos);
    else if (video) await this.#openMoving(video);
  }

  /** @param {File} file  a pose network says so in its metadata; anything else must be a detector */
  async #openModel(file) {
    const bytes = await file.arrayBuffer();
    const { readMetadata } = await import('./onnx_file.js');
    let metadata;
    try {
      metadata = readMetadata(new Uint8Array(bytes));
    } catch (error) {
      say(`${file.name} cannot be used: ${reason(error)}.`, 'problem');
      return;
    }
    if (metadata.has('gtpt')) await this.openNetwork(bytes, file.name);
    else await this.openDetector(bytes, file.name);
  }

  /** @param {File[]} files */
  async #openPhotos(files) {
    this.#leave();
    this.#photos = [];
    const done = busy('Reading');
    for (const file of files) {
      try {
        this.#photos.push({ name: file.name, photo: await openPhoto(file) });
      } catch (error) {
        say(`${file.name} cannot be read: ${reason(error)}.`, 'problem');
      }
    }
    done();
    this.#renderStrip();
    if (this.#photos.length) await this.#showPhoto(0);
  }

  /** @param {number} at */
  async #showPhoto(at) {
    const { name, photo } = this.#photos[at];
    this.#opened = { kind: 'photo', name, at };
    this.#hand.reset(photo.size);
    this.#show(photo.picture, false, null);
    this.#renderStrip();
    this.#refreshFinding();
    await this.#estimateAgain();
  }

  #renderStrip() {
    const current = this.#opened.kind === 'photo' ? this.#opened.at : null;
    renderStrip(this.#photos, current, (at) => void this.#showPhoto(at));
  }

  /** @param {File | null} file  null for the camera */
  async #openMoving(file) {
    const network = this.#engine.facts?.network;
    if (!network) return say('Wait until the network has started, or choose one.', 'problem');
    this.#leave();
    this.#photos = [];
    this.#renderStrip();
    const name = file?.name ?? 'camera';
    const done = busy(file ? 'Opening the video' : 'Opening the camera');
    try {
      await (file ? openVideo(this.#video, file) : openCamera(this.#video));
    } catch (error) {
      const what = file ? `${name} cannot be played` : 'The camera cannot be used';
      say(`${what}: ${reason(error)}.`, 'problem');
      this.#none();
      return;
    } finally {
      done();
    }
    this.#opened = { kind: file ? 'video' : 'camera', name, session: new Session(network.skeleton) };
    /** @type {import('./types.js').Size} */
    const size = [this.#video.videoWidth, this.#video.videoHeight];
    this.#hand.reset(size);
    byId('transport', HTMLElement).hidden = !file;
    byId('camera', HTMLElement).textContent = file ? 'Camera' : 'Stop camera';
    this.#refreshFinding();
    if (!file) {
      for (const track of /** @type {MediaStream} */ (this.#video.srcObject).getTracks()) {
        track.addEventListener('ended', () => {
          say('The camera was disconnected.', 'problem');
          this.#leave();
        });
      }
    } else {
      await seek(this.#video, 0);
      await this.#estimateAgain();
    }
    void this.#follow(this.#work.signal);
    if (file) void this.#video.play().catch(() => {});
  }

  async #toggleCamera() {
    if (this.#opened.kind === 'camera') {
      this.#leave();
      this.#none();
    } else {
      await this.#openMoving(null);
    }
  }

  /** Let go of what is open; its picture stays in sight until another one comes. */
  #leave() {
    this.#work.abort();
    this.#work = new AbortController();
    this.#estimates += 1; // what is under way is of no use any more
    closeVideo(this.#video);
    byId('transport', HTMLElement).hidden = true;
    byId('progress', HTMLElement).hidden = true;
    byId('camera', HTMLElement).textContent = 'Camera';
    this.#opened = { kind: 'none' };
    this.#refreshFinding();
  }

  #none() {
    this.#shown = null;
    byId('frame', HTMLElement).hidden = true;
    byId('welcome', HTMLElement).hidden = false;
    this.#panel.showPeople(null, null);
  }

  // ---- estimating

  /** The picture in sight once more, after a change of what is looked for. */
  async #estimateAgain() {
    if (!this.#engine.facts) return;
    if (this.#opened.kind === 'photo') await this.#estimatePhoto(this.#opened);
    if (this.#opened.kind === 'video' && this.#video.paused && !this.#analysing) {
      this.#opened.session.complete = false;
      await this.#estimateFrame(this.#opened.session, this.#video.currentTime);
    }
  }

  /** @param {{at: number, name: string}} opened */
  async #estimatePhoto({ at, name }) {
    const mine = ++this.#estimates;
    const { photo } = this.#photos[at];
    const factor = photo.picture.width / photo.size[0];
    const boxes = this.#givenBoxes([photo.picture.width, photo.picture.height], factor);
    const done = busy('Looking');
    try {
      const { poses, timing } = await this.#engine.estimate(photo.picture, this.#request(boxes));
      if (mine !== this.#estimates) return; // another photo or setting came in the meantime
      this.#panel.showTiming(timing, false);
      this.#show(photo.picture, false, scalePoses(poses, photo.size));
      this.#panel.announce(name);
    } catch (error) {
      say(`${name}: ${reason(error)}.`, 'problem');
    } finally {
      done();
    }
  }

  /** @param {import('./types.js').Size} size @param {number} factor  @returns {import('./types.js').Detection[] | null} */
  #givenBoxes([width, height], factor) {
    if (this.#find === 'detector') return null;
    if (this.#find === 'whole') return [{ box: [0, 0, width, height], score: 1 }];
    return this.#hand.detections.map(({ box, score }) => {
      return { box: /** @type {import('./types.js').Box} */ (box.map((side) => side * factor)), score };
    });
  }

  /** @param {import('./types.js').Detection[] | null} boxes */
  #request(boxes) {
    const [refine, unique] = [this.#find === 'whole' && boxes !== null, this.#find === 'detector'];
    return { boxes, threshold: 0.3, refine, unique, kept: this.#panel.wantsKept };
  }

  /**
   * One frame of a video or the camera: the picture and the people drawn on it are of the same moment.
   *
   * @param {Session} session @param {number} time
   */
  async #estimateFrame(session, time) {
    const picture = await createImageBitmap(this.#video);
    const due = session.isDetectionDue(this.#find === 'detector' ? this.settings.detectEvery : REDETECT_NEVER, time);
    const boxes = due ? this.#givenBoxes([picture.width, picture.height], 1) : session.expected();
    const request = { ...this.#request(boxes), refine: due && this.#find === 'whole' };
    const { poses, timing } = await this.#engine.estimate(picture, request);
    if (this.#opened.kind === 'none' || this.#opened.kind === 'photo' || this.#opened.session !== session) {
      picture.close();
      return;
    }
    const entry = session.add(time, poses, due);
    this.#panel.showTiming(timing, true);
    this.#show(picture, true, this.settings.smooth ? entry.smooth : entry.raw, time);
  }

  /** @param {AbortSignal} signal  follow what plays, as fast as this device can */
  async #follow(signal) {
    while (!signal.aborted) {
      const time = await nextFrame(this.#video);
      if (signal.aborted || (this.#opened.kind !== 'video' && this.#opened.kind !== 'camera')) return;
      if (time === null || this.#analysing) continue;
      const { session } = this.#opened;
      try {
        const known = session.complete ? session.at(time) : null;
        if (known) {
          const picture = await createImageBitmap(this.#video);
          this.#show(picture, true, this.settings.smooth ? known.smooth : known.raw, time);
        } else if (!this.#video.paused || this.#opened.kind === 'camera') await this.#estimateFrame(session, time);
      } catch (error) {
        if (signal.aborted) return;
        say(`A frame at ${time.toFixed(2)} s was passed over: ${reason(error)}.`, 'problem');
      }
    }
  }

  #analysing = false;

  /** Every frame of a video, however long it takes; afterwards it plays with its overlay at full speed. */
  async #analyse() {
    if (this.#opened.kind !== 'video') return;
    if (this.#analysing) {
      this.#stopAnalysis?.abort();
      return;
    }
    const button = byId('analyse', HTMLButtonElement);
    const progress = byId('progress', HTMLProgressElement);
    const network = this.#engine.facts?.network;
    if (!network) return;
    const session = new Session(network.skeleton);
    this.#opened.session = session;
    this.#stopAnalysis = new AbortController();
    const signal = AbortSignal.any([this.#work.signal, this.#stopAnalysis.signal]);
    this.#video.pause();
    this.#analysing = true;
    [button.textContent, progress.hidden] = ['Stop', false];
    try {
      for await (const time of everyFrame(this.#video, signal)) {
        await this.#estimateFrame(session, time);
        progress.value = time / this.#video.duration;
      }
      session.complete = !signal.aborted;
      if (session.complete) say(`All ${session.length} frames are done; the video now plays with them.`);
    } catch (error) {
      if (!this.#work.signal.aborted) say(`The analysis stopped: ${reason(error)}. What was found is kept.`, 'problem');
    } finally {
      this.#analysing = false;
      [button.textContent, progress.hidden] = ['Every frame', true];
    }
    this.#draw();
  }

  /** @type {AbortController | null} */
  #stopAnalysis = null;

  // ---- showing

  /**
   * @param {ImageBitmap} picture
   * @param {boolean} owned  whether it is closed when another one comes
   * @param {import('./types.js').Poses | null} poses
   * @param {number} [time]  of a frame, seconds
   */
  #show(picture, owned, poses, time) {
    if (this.#shown?.owned && this.#shown.picture !== picture) this.#shown.picture.close();
    this.#shown = { picture, owned, poses };
    byId('welcome', HTMLElement).hidden = true;
    byId('frame', HTMLElement).hidden = false;
    this.#draw();
    if (time !== undefined) this.#showClock(time);
    const { name } = this.#opened.kind === 'none' ? { name: '' } : this.#opened;
    document.dispatchEvent(new CustomEvent('gtpt:shown', { detail: { name, time, poses, find: this.#find } }));
  }

  #draw() {
    const context = this.#canvas.getContext('2d');
    if (!this.#shown || !context) return;
    const { picture, poses } = this.#shown;
    if (this.#canvas.width !== picture.width || this.#canvas.height !== picture.height) {
      [this.#canvas.width, this.#canvas.height] = [picture.width, picture.height];
    }
    const visible = this.#visible(poses);
    this.#panel.showPeople(visible, picture);
    this.#paint(context, picture, visible);
    this.#panel.showSaving(this.#opened, visible);
    const name = this.#opened.kind === 'none' ? '' : `${this.#opened.name}: `;
    this.#canvas.setAttribute('aria-label', `${name}${this.#panel.summary}`);
  }

  /**
   * @param {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} context
   * @param {ImageBitmap} picture
   * @param {import('./types.js').Poses | null} poses
   */
  #paint(context, picture, poses) {
    const { network } = this.#engine.facts ?? {};
    context.drawImage(picture, 0, 0, context.canvas.width, context.canvas.height);
    if (poses && network) drawPoses(context, poses, network.skeleton, this.settings);
  }

  /** @template {import('./types.js').Poses | null} T @param {T} poses @returns {T}  those with a high enough score */
  #visible(poses) {
    const least = this.#panel.leastScore;
    return poses && { ...poses, people: poses.people.filter((person) => person.score >= least) };
  }

  // ---- playback

  #bindTransport() {
    const position = byId('position', HTMLInputElement);
    const play = byId('play', HTMLButtonElement);
    const toggle = () => void (this.#video.paused ? this.#video.play().catch(() => {}) : this.#video.pause());
    play.addEventListener('click', toggle);
    for (const event of ['play', 'pause', 'ended']) {
      this.#video.addEventListener(event, () => (play.textContent = this.#video.paused ? 'Play' : 'Pause'));
    }
    position.addEventListener('input', () => void this.#goTo(Number(position.value) * this.#video.duration));
    byId('analyse', HTMLElement).addEventListener('click', () => void this.#analyse());
    document.addEventListener('keydown', (event) => {
      const control = event.target instanceof HTMLElement && event.target.closest('button, input, select, summary, a');
      if (this.#opened.kind !== 'video' || control || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === ' ') toggle();
      else if (event.key === 'ArrowRight') void this.#goTo(this.#video.currentTime + 1 / 30);
      else if (event.key === 'ArrowLeft') void this.#goTo(this.#video.currentTime - 1 / 30);
      else return;
      event.preventDefault();
    });
  }

  /** @param {number} time  seconds */
  async #goTo(time) {
    if (this.#opened.kind !== 'video' || this.#analysing) return;
    const { session } = this.#opened;
    const at = await seek(this.#video, Math.min(Math.max(time, 0), this.#video.duration));
    if (!this.#video.paused || session.complete) return;
    try {
      await this.#estimateFrame(session, at);
    } catch (error) {
      say(`This frame could not be looked at: ${reason(error)}.`, 'problem');
    }
  }

  /** @param {number} time */
  #showClock(time) {
    if (this.#opened.kind !== 'video') return;
    const { duration } = this.#video;
    byId('clock', HTMLOutputElement).value = `${Math.floor(time / 60)}:${(time % 60).toFixed(1).padStart(4, '0')}`;
    const position = byId('position', HTMLInputElement);
    if (document.activeElement !== position || !this.#video.paused) position.value = String(time / duration);
    position.setAttribute('aria-valuetext', `${time.toFixed(1)} of ${duration.toFixed(1)} seconds`);
  }

  // ---- saving

  #bindSaving() {
    byId('save-json', HTMLElement).addEventListener('click', () => this.#save('json'));
    byId('save-csv', HTMLElement).addEventListener('click', () => this.#save('csv'));
    byId('save-picture', HTMLElement).addEventListener('click', () => void this.#savePicture());
  }

  /** @param {'json' | 'csv'} kind */
  #save(kind) {
    const network = this.#engine.facts?.network;
    const poses = this.#visible(this.#shown?.poses ?? null);
    if (!network || !poses || this.#opened.kind === 'none') return;
    const { name } = this.#opened;
    if (this.#opened.kind === 'photo') {
      savePhoto(kind, name, poses, network.skeleton);
    } else {
      const frames = this.#opened.session.entries.map((entry, frame) => {
        return { frame, time: entry.time, name, poses: this.#visible(this.settings.smooth ? entry.smooth : entry.raw) };
      });
      saveFrames(kind, name, frames, network.skeleton);
    }
  }

  async #savePicture() {
    if (!this.#shown || this.#opened.kind === 'none') return;
    const { picture, poses } = this.#shown;
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    const context = canvas.getContext('2d');
    if (!context) return;
    this.#paint(context, picture, this.#visible(poses));
    savePicture(await canvas.convertToBlob({ type: 'image/png' }), this.#opened.name);
  }
}

/** @param {string} file @returns {Promise<ArrayBuffer>} */
async function fetchFile(file) {
  const response = await fetch(file);
  if (!response.ok)
    throw new Error(`${file} is missing in this folder (HTTP ${response.status}); write it again with gtpt web`);
  return response.arrayBuffer();
}

async function start() {
  const trouble = await prepareOffline();
  if (trouble) say(trouble);
  /** @type {Site} */
  const site = JSON.parse(new TextDecoder().decode(await fetchFile('site.json')));
  /** @type {App} */
  let app;
  const engine = new Engine(new URL(site.runtime, document.baseURI).href, (facts, lost) =>
    app.engineChanged(facts, lost),
  );
  app = new App(engine, loadSettings(site.min_score));
  byId('backend-choice', HTMLSelectElement).addEventListener('change', (event) => {
    app.settings.backend = /** @type {any} */ (event.target).value;
    saveSettings(app.settings);
    if (app.networkFile) void app.openNetwork(app.networkFile.pose, app.networkFile.name);
  });
  const [pose, detector] = await Promise.all([
    fetchFile(site.pose.file),
    site.detector ? fetchFile(site.detector.file).catch((error) => say(reason(error), 'problem')) : null,
  ]);
  await app.openNetwork(pose, site.pose.name);
  if (detector && site.detector) await app.openDetector(detector, site.detector.name);
  document.documentElement.dataset.ready = 'true';
  keepOffline((why) => say(`There is no room to keep this page for offline use (${why}).`));
}

start().catch((error) => say(`The page could not start: ${reason(error)}.`, 'problem'));
