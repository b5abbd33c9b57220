/**
 * What the modules hand to each other. Coordinates are pixels of the full picture, x right, y down; (0, 0) is the centre of
 * the top left pixel. Boxes are x1, y1, x2, y2.
 *
 * @typedef {[number, number, number, number]} Box
 * @typedef {[number, number]} Size  width, height
 *
 * @typedef {object} Pixels  RGBA, as a canvas gives them
 * @property {Uint8ClampedArray} data  4 * width * height
 * @property {number} width
 * @property {number} height
 *
 * @typedef {object} Detection
 * @property {Box} box
 * @property {number} score  in [0, 1]
 *
 * @typedef {object} Skeleton
 * @property {string} name
 * @property {string[]} keypoints  K names in the order of every array of keypoints
 * @property {number[]} sigmas  K OKS constants
 * @property {[number, number][]} edges  the limbs that are drawn
 * @property {string[]} groups  names of the groups that prune patches together
 * @property {(string | null)[]} partOf  K: the part ("face", "left_hand") whose fine keypoint this is
 * @property {unknown} file  the file form, as results quote it
 *
 * @typedef {object} Stage  one prune of the network
 * @property {string} name  e.g. "coarse3", "entry", "group3"
 * @property {number[]} groups  which groups prune there; empty: all share one prune
 * @property {string[]} outputs  of the network that tell the choices, one per prune
 *
 * @typedef {object} Network  what an exported file says about itself
 * @property {string} name
 * @property {Size} inputSize
 * @property {number} split  SimCC bins per pixel
 * @property {Size} grid  columns and rows of patches
 * @property {Skeleton} skeleton
 * @property {{raw: number[], calibrated: number[]}} calibration
 * @property {boolean} calibrated  whether the file brought its own calibration
 * @property {Stage[]} stages  that its outputs tell of: all, or none in a file that `gtpt web` did not prepare
 *
 * @typedef {object} Kept  the patches that survived a stage
 * @property {string} stage
 * @property {number[][]} groups  per group (one entry if all share it) the numbers of the patches, row by row
 *
 * @typedef {object} Person
 * @property {Box} box  that the pose was estimated in
 * @property {number} detection  score of the box
 * @property {number} score  detection times the mean of the keypoint scores
 * @property {number | null} id
 * @property {Float32Array} keypoints  2 K: x, y
 * @property {Float32Array} scores  K, calibrated to [0, 1]
 * @property {Float32Array} rawScores  K
 * @property {Kept[]} [kept]
 *
 * @typedef {object} Poses
 * @property {Size} size  of the picture
 * @property {Person[]} people
 *
 * @typedef {object} Timing  milliseconds
 * @property {number} detect
 * @property {number} pose
 * @property {number} total
 */
export {};
