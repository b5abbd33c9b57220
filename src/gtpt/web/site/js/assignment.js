/**
 * The pairs of rows and columns with the greatest total (the Hungarian method with potentials, O(n^3)).
 *
 * @param {number[][]} worth  rows x columns, not negative; may be empty
 * @returns {[number, number][]}  row, column; as many as the shorter side has
 */
export function assign(worth) {
  const rows = worth.length;
  const columns = rows ? worth[0].length : 0;
  if (!rows || !columns) return [];
  if (rows > columns) {
    const turned = Array.from({ length: columns }, (_, c) => worth.map((row) => row[c]));
    return assign(turned).map(([column, row]) => [row, column]);
  }
  // indices from 1; column 0 is where a row waits that has no column yet
  const rowPotential = new Float64Array(rows + 1);
  const columnPotential = new Float64Array(columns + 1);
  const rowOf = new Int32Array(columns + 1);
  const before = new Int32Array(columns + 1);
  for (let row = 1; row <= rows; row++) {
    rowOf[0] = row;
    let column = 0;
    const slack = new Float64Array(columns + 1).fill(Infinity);
    const visited = new Uint8Array(columns + 1);
    do {
      visited[column] = 1;
      const current = rowOf[column];
      let [least, next] = [Infinity, 0];
      for (let c = 1; c <= columns; c++) {
        if (visited[c]) continue;
        const cost = -worth[current - 1][c - 1] - rowPotential[current] - columnPotential[c];
        if (cost < slack[c]) [slack[c], before[c]] = [cost, column];
        if (slack[c] < least) [least, next] = [slack[c], c];
      }
      for (let c = 0; c <= columns; c++) {
        if (visited[c]) {
          rowPotential[rowOf[c]] += least;
          columnPotential[c] -= least;
        } else {
          slack[c] -= least;
        }
      }
      column = next;
    } while (rowOf[column]);
    for (; column; column = before[column]) rowOf[column] = rowOf[before[column]];
  }
  /** @type {[number, number][]} */
  const pairs = [];
  for (let c = 1; c <= columns; c++) if (rowOf[c]) pairs.push([rowOf[c] - 1, c - 1]);
  return pairs.sort((a, b) => a[0] - b[0]);
}
