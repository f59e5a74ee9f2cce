/**
 * Dense linear algebra for matrices of some hundred rows: all that Gaussian processes and CMA-ES need, and nothing more. Row-major
 * doubles; what is returned is new, and arguments are not changed.
 */

/** A matrix of doubles, row after row. */
export class Matrix {
  readonly data: Float64Array;

  constructor(readonly rows: number, readonly columns: number, data?: Float64Array) {
    this.data = data ?? new Float64Array(rows * columns);
  }

  static identity(size: number): Matrix {
    const matrix = new Matrix(size, size);
    for (let i = 0; i < size; i++) matrix.data[i * size + i] = 1;
    return matrix;
  }

  at(row: number, column: number): number {
    return this.data[row * this.columns + column]!;
  }

  set(row: number, column: number, value: number): void {
    this.data[row * this.columns + column] = value;
  }

  /** A view of one row. */
  row(index: number): Float64Array {
    return this.data.subarray(index * this.columns, (index + 1) * this.columns);
  }
}

/** The sum of products of two vectors' elements. */
export function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** A matrix times a vector. */
export function multiply({ rows, columns, data }: Matrix, vector: Float64Array): Float64Array {
  const result = new Float64Array(rows);
  for (let i = 0, at = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < columns; j++) sum += data[at++]! * vector[j]!;
    result[i] = sum;
  }
  return result;
}

/** Rows and columns that are worked on together: sums that do not wait for each other, and share what they read. As many as there are registers for. */
const BLOCK_ROWS = 4;

/**
 * The lower L with L Lᵀ = A, of a symmetric A of which the lower half is read; null where A is not positive definite. n³/6 multiplications.
 * Where the factor of A's first rows is known, it is only extended: n²/2 multiplications for each row that is new.
 */
export function cholesky(matrix: Matrix, known?: Matrix): Matrix | null {
  const size = matrix.rows;
  const lower = new Matrix(size, size);
  const l = lower.data;
  const first = known?.rows ?? 0;
  for (let i = 0; i < size; i++) l.set((i < first ? known! : matrix).row(i).subarray(0, i + 1), i * size);
  for (let block = first; block < size; block += BLOCK_ROWS) {
    substitute(lower, { rows: lower, block, from: 0, to: block });
    for (let i = block; i < Math.min(block + BLOCK_ROWS, size); i++) {
      const row = i * size;
      for (let j = block; j < i; j++) l[row + j] = (l[row + j]! - dotOf(l, row, j * size, j)) / l[j * size + j]!;
      const square = l[row + i]! - dotOf(l, row, row, i);
      if (!(square > 0)) return null;
      l[row + i] = Math.sqrt(square);
    }
  }
  return lower;
}

/** The first so many products of two rows of one array. */
function dotOf(data: Float64Array, first: number, second: number, count: number): number {
  let sum = 0;
  for (let k = 0; k < count; k++) sum += data[first + k]! * data[second + k]!;
  return sum;
}

/** Four rows of a matrix from `block` on, and the columns that are wanted of them. */
interface RowBlock {
  readonly rows: Matrix;
  readonly block: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Replaces the columns of each row with those of x, where x Lᵀ is the row: forward substitution, of four rows and two columns at a time.
 * Columns before `from` count as zero. Where there are fewer rows the last stands for those that lack, and comes out the same.
 */
function substitute({ rows: size, data: l }: Matrix, { rows: { rows: count, data: x }, block, from, to }: RowBlock): void {
  const r = block * size;
  const s = Math.min(block + 1, count - 1) * size;
  const t = Math.min(block + 2, count - 1) * size;
  const u = Math.min(block + 3, count - 1) * size;
  let j = from;
  for (; j + 1 < to; j += 2) {
    const p = j * size;
    const q = p + size;
    let r0 = x[r + j]!;
    let s0 = x[s + j]!;
    let t0 = x[t + j]!;
    let u0 = x[u + j]!;
    let r1 = x[r + j + 1]!;
    let s1 = x[s + j + 1]!;
    let t1 = x[t + j + 1]!;
    let u1 = x[u + j + 1]!;
    for (let k = from; k < j; k++) {
      const l0 = l[p + k]!;
      const l1 = l[q + k]!;
      const rk = x[r + k]!;
      const sk = x[s + k]!;
      const tk = x[t + k]!;
      const uk = x[u + k]!;
      r0 -= rk * l0;
      r1 -= rk * l1;
      s0 -= sk * l0;
      s1 -= sk * l1;
      t0 -= tk * l0;
      t1 -= tk * l1;
      u0 -= uk * l0;
      u1 -= uk * l1;
    }
    const first = l[p + j]!;
    const under = l[q + j]!;
    const second = l[q + j + 1]!;
    r0 /= first;
    s0 /= first;
    t0 /= first;
    u0 /= first;
    x[r + j] = r0;
    x[s + j] = s0;
    x[t + j] = t0;
    x[u + j] = u0;
    x[r + j + 1] = (r1 - r0 * under) / second;
    x[s + j + 1] = (s1 - s0 * under) / second;
    x[t + j + 1] = (t1 - t0 * under) / second;
    x[u + j + 1] = (u1 - u0 * under) / second;
  }
  if (j >= to) return;
  for (let i = block; i < Math.min(block + BLOCK_ROWS, count); i++) {
    const row = i * size;
    for (let k = from; k < j; k++) x[row + j]! -= x[row + k]! * l[j * size + k]!;
    x[row + j]! /= l[j * size + j]!;
  }
}

/** x with L x = b. */
export function solveLower(lower: Matrix, b: Float64Array): Float64Array {
  return solveLowerRows(lower, new Matrix(1, b.length, b)).data;
}

/** Each row's x with L x = the row: four at once for what one takes. */
export function solveLowerRows(lower: Matrix, b: Matrix): Matrix {
  const x = new Matrix(b.rows, b.columns, b.data.slice());
  for (let block = 0; block < x.rows; block += BLOCK_ROWS) substitute(lower, { rows: x, block, from: 0, to: lower.rows });
  return x;
}

/** x with Lᵀ x = b. */
export function solveLowerTransposed({ rows, data }: Matrix, b: Float64Array): Float64Array {
  const x = b.slice();
  for (let i = rows - 1; i >= 0; i--) {
    const row = i * rows;
    const value = x[i]! / data[row + i]!;
    x[i] = value;
    for (let k = 0; k < i; k++) x[k]! -= data[row + k]! * value;
  }
  return x;
}

/** Lᵀ with its rows and columns from the last to the first: lower as L is. What it solves is Lᵀ x = b, of b and x from the last to the first. */
export function flipped({ rows: size, data }: Matrix): Matrix {
  const flip = new Matrix(size, size);
  for (let i = 0; i < size; i++) for (let j = 0; j <= i; j++) flip.data[i * size + j] = data[(size - 1 - j) * size + size - 1 - i]!;
  return flip;
}

/** The inverse of A = L Lᵀ, of L. n³/3 multiplications. */
export function inverseOf(lower: Matrix): Matrix {
  const size = lower.rows;
  const columns = Matrix.identity(size); // row by row the columns of L's inverse, which begin with zeros
  for (let block = 0; block < size; block += BLOCK_ROWS) substitute(lower, { rows: columns, block, from: block, to: size });
  const inverse = new Matrix(size, size);
  for (let block = 0; block < size; block += BLOCK_ROWS) {
    for (let j = 0; j < Math.min(block + BLOCK_ROWS, size); j += 2) multiplyRows(columns, { block, pair: j }, inverse);
    for (let i = block; i < Math.min(block + BLOCK_ROWS, size); i++) for (let j = 0; j < i; j++) inverse.set(j, i, inverse.at(i, j));
  }
  return inverse;
}

/** Products of four rows from `block` on, which are zero before that column, with two others from `pair` on, into as many rows and columns. */
function multiplyRows({ rows: size, data }: Matrix, { block, pair }: { readonly block: number; readonly pair: number }, { data: into }: Matrix): void {
  const r = block * size;
  const s = Math.min(block + 1, size - 1) * size;
  const t = Math.min(block + 2, size - 1) * size;
  const u = Math.min(block + 3, size - 1) * size;
  const second = Math.min(pair + 1, size - 1);
  const p = pair * size;
  const q = second * size;
  let r0 = 0;
  let s0 = 0;
  let t0 = 0;
  let u0 = 0;
  let r1 = 0;
  let s1 = 0;
  let t1 = 0;
  let u1 = 0;
  for (let k = block; k < size; k++) {
    const pk = data[p + k]!;
    const qk = data[q + k]!;
    const rk = data[r + k]!;
    const sk = data[s + k]!;
    const tk = data[t + k]!;
    const uk = data[u + k]!;
    r0 += rk * pk;
    r1 += rk * qk;
    s0 += sk * pk;
    s1 += sk * qk;
    t0 += tk * pk;
    t1 += tk * qk;
    u0 += uk * pk;
    u1 += uk * qk;
  }
  into[r + pair] = r0;
  into[s + pair] = s0;
  into[t + pair] = t0;
  into[u + pair] = u0;
  into[r + second] = r1;
  into[s + second] = s1;
  into[t + second] = t1;
  into[u + second] = u1;
}

const JACOBI_SWEEPS_MAX = 30;

/**
 * The eigenvalues of a symmetric matrix, and its eigenvectors as the columns of a matrix.
 * Source: Golub and Van Loan, Matrix Computations, 8.5 (cyclic Jacobi).
 */
export function symmetricEigen(matrix: Matrix): { readonly values: Float64Array; readonly vectors: Matrix } {
  const size = matrix.rows;
  const a = new Matrix(size, size, matrix.data.slice());
  const vectors = Matrix.identity(size);
  for (let sweep = 0; sweep < JACOBI_SWEEPS_MAX && offDiagonal(a) > 1e-30 * diagonal(a); sweep++) {
    for (let p = 0; p < size - 1; p++) for (let q = p + 1; q < size; q++) rotate(a, vectors, p, q);
  }
  return { values: Float64Array.from({ length: size }, (_, i) => a.at(i, i)), vectors };
}

function offDiagonal(a: Matrix): number {
  let sum = 0;
  for (let i = 0; i < a.rows; i++) for (let j = 0; j < i; j++) sum += a.at(i, j) ** 2;
  return sum;
}

function diagonal(a: Matrix): number {
  let sum = Number.MIN_VALUE;
  for (let i = 0; i < a.rows; i++) sum += a.at(i, i) ** 2;
  return sum;
}

/** The rotation that makes a(p, q) zero, of rows and columns p and q. */
function rotate(a: Matrix, vectors: Matrix, p: number, q: number): void {
  const apq = a.at(p, q);
  if (apq === 0) return;
  const theta = (a.at(q, q) - a.at(p, p)) / (2 * apq);
  const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  const turn = (m: Matrix, i: number, j: number, k: number, l: number): void => {
    const first = m.at(i, j);
    const second = m.at(k, l);
    m.set(i, j, c * first - s * second);
    m.set(k, l, s * first + c * second);
  };
  for (let k = 0; k < a.rows; k++) turn(a, k, p, k, q);
  for (let k = 0; k < a.rows; k++) turn(a, p, k, q, k);
  for (let k = 0; k < a.rows; k++) turn(vectors, k, p, k, q);
}
