/** Photos, videos and the camera: from what the user gives to pictures that can be drawn. */

const MOST_PIXELS = 2 ** 24; // of a picture to work on; phones give canvases no more
const FIRST_FRAMES = 8; // of which the shortest distance is the length of a frame
const SLOW = 0.25; // playback rate at which even slow machines show every frame
const PATIENCE = 1500; // milliseconds for a frame to come

/**
 * @typedef {object} Photo
 * @property {ImageBitmap} picture  upright, perhaps smaller than the file
 * @property {import('./types.js').Size} size  of the file
 */

/**
 * @param {Blob} file
 * @returns {Promise<Photo>}
 * @throws {Error} if it is no picture that the browser can decode
 */
export async function openPhoto(file) {
  let picture;
  try {
    // colours as stored, like the Python package, so that the numbers are the same
    picture = await createImageBitmap(file, { imageOrientation: 'from-image', colorSpaceConversion: 'none' });
  } catch {
    throw new Error(
      file.size ? 'it is cut off, damaged or too large, or no picture that this browser knows' : 'it is empty',
    );
  }
  /** @type {import('./types.js').Size} */
  const size = [picture.width, picture.height];
  const shrink = Math.sqrt(MOST_PIXELS / (size[0] * size[1]));
  if (shrink >= 1) return { picture, size };
  const [resizeWidth, resizeHeight] = size.map((side) => Math.max(Math.floor(side * shrink), 1));
  const smaller = await createImageBitmap(picture, { resizeWidth, resizeHeight, resizeQuality: 'high' });
  picture.close();
  return { picture: smaller, size };
}

/**
 * The same people in a picture of another size.
 *
 * @param {import('./types.js').Poses} poses
 * @param {import('./types.js').Size} size
 * @returns {import('./types.js').Poses}
 */
export function scalePoses(poses, size) {
  const [fx, fy] = [size[0] / poses.size[0], size[1] / poses.size[1]];
  if (fx === 1 && fy === 1) return poses;
  const people = poses.people.map((person) => ({
    ...person,
    box: /** @type {import('./types.js').Box} */ (person.box.map((side, i) => side * (i % 2 ? fy : fx))),
    keypoints: person.keypoints.map((value, i) => value * (i % 2 ? fy : fx)),
  }));
  return { size, people };
}

/**
 * @param {HTMLVideoElement} video
 * @param {Blob} file
 * @throws {Error} if the browser cannot play it
 */
export async function openVideo(video, file) {
  closeVideo(video);
  video.src = URL.createObjectURL(file);
  await new Promise((resolve, reject) => {
    video.onloadeddata = resolve;
    video.onerror = () => reject(new Error('it is damaged, or in a format that this browser cannot play'));
  });
  if (!video.videoWidth) throw new Error('there is no picture in it, only sound');
}

/**
 * @param {HTMLVideoElement} video
 * @throws {Error} that says why there is no camera
 */
export async function openCamera(video) {
  closeVideo(video);
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error('browsers give the camera only to pages from https or localhost');
  }
  try {
    const wanted = { video: { width: { ideal: 1280 }, height: { ideal: 720 } }, audio: false };
    video.srcObject = await navigator.mediaDevices.getUserMedia(wanted);
  } catch (error) {
    throw new Error(CAMERA_TROUBLE[/** @type {Error} */ (error).name] ?? String(error));
  }
  await video.play();
}

/** @type {Record<string, string>} */
const CAMERA_TROUBLE = {
  NotAllowedError: 'it was refused; allow it in the address bar of the browser and try again',
  NotFoundError: 'none is connected',
  NotReadableError: 'another program uses it',
  OverconstrainedError: 'it has no picture of a usable size',
  AbortError: 'it stopped answering',
};

/** @param {HTMLVideoElement} video  lets go of a video or the camera */
export function closeVideo(video) {
  video.pause();
  if (video.srcObject instanceof MediaStream) for (const track of video.srcObject.getTracks()) track.stop();
  if (video.src) URL.revokeObjectURL(video.src);
  video.onerror = video.onloadeddata = null;
  video.srcObject = null;
  video.removeAttribute('src');
  video.load();
}

/**
 * @param {HTMLVideoElement} video
 * @param {number} [patience]  milliseconds
 * @returns {Promise<number | null>}  seconds into the video of the frame that is now shown; null if none came
 */
export function nextFrame(video, patience = PATIENCE) {
  return new Promise((resolve) => {
    const late = setTimeout(resolve, patience, null);
    const shown = (/** @type {number} */ time) => {
      clearTimeout(late);
      resolve(time);
    };
    if ('requestVideoFrameCallback' in video) {
      video.requestVideoFrameCallback((_, { mediaTime }) => shown(mediaTime));
    } else {
      requestAnimationFrame(() => shown(/** @type {HTMLVideoElement} */ (video).currentTime));
    }
  });
}

/**
 * Stop at a moment of a video.
 *
 * @param {HTMLVideoElement} video
 * @param {number} time  seconds
 * @returns {Promise<number>}  where the frame that is shown begins
 */
export async function seek(video, time) {
  const frame = nextFrame(video);
  const arrived = new Promise((resolve) => video.addEventListener('seeked', resolve, { once: true }));
  video.currentTime = time;
  await arrived;
  return (await frame) ?? video.currentTime;
}

/**
 * @param {HTMLVideoElement} video  of a video, which is played for a moment, slowly and without sound
 * @returns {Promise<number>}  seconds
 */
export async function frameDuration(video) {
  const { muted, playbackRate } = video;
  [video.muted, video.playbackRate] = [true, SLOW];
  await seek(video, 0);
  await video.play();
  let [before, shortest] = [-1, Infinity];
  for (let frame = 0; frame < FIRST_FRAMES; frame++) {
    const time = await nextFrame(video);
    if (time === null) break;
    if (before >= 0 && time > before) shortest = Math.min(shortest, time - before);
    before = time;
  }
  video.pause();
  [video.muted, video.playbackRate] = [muted, playbackRate];
  return Number.isFinite(shortest) ? shortest : 1 / 30;
}

/**
 * All frames of a video, one after the other, each shown by the video as long as the caller works on it.
 *
 * @param {HTMLVideoElement} video
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<number>}  times at which they begin
 */
export async function* everyFrame(video, signal) {
  const duration = await frameDuration(video);
  let last = -1;
  for (let middle = duration / 2; middle < video.duration && !signal.aborted;) {
    const time = await seek(video, middle);
    if (time > last) {
      yield time;
      last = time;
      middle = Math.max(time, middle - duration / 2) + 1.5 * duration;
    } else {
      middle += duration; // a frame that lasts longer than the others
    }
  }
}
