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
  for (let i = first; i < size; i += 2) {
    const rows = Math.min(2, size - i);
    const [upper, under] = [i * size, (i + rows - 1) * size];
    substitute(l, size, { rows: l, first: upper, second: under, from: 0, to: i });
    for (const [row, width] of rows === 2 ? [[upper, 0], [under, 1]] as const : [[upper, 0]] as const) {
      if (width === 1) l[row + i]! = (l[row + i]! - dotOf(l, row, upper, i)) / l[upper + i]!;
      const square = l[row + i + width]! - dotOf(l, row, row, i + width);
      if (!(square > 0)) return null;
      l[row + i + width] = Math.sqrt(square);
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

/** Two rows of an array, which may be the same one twice, by where they begin, and the columns that are wanted of them. */
interface RowPair {
  readonly rows: Float64Array;
  readonly first: number;
  readonly second: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Replaces the columns of both rows with those of x, where x Lᵀ is the row: forward substitution, of two rows and two columns at a time,
 * because four sums that do not wait for each other take the time of one. Columns before `from` count as zero.
 */
function substitute(l: Float64Array, size: number, { rows, first, second, from, to }: RowPair): void {
  let j = from;
  for (; j + 1 < to; j += 2) {
    const p = j * size;
    const q = p + size;
    let a = rows[first + j]!;
    let b = rows[first + j + 1]!;
    let c = rows[second + j]!;
    let d = rows[second + j + 1]!;
    for (let k = from; k < j; k++) {
      const u = rows[first + k]!;
      const v = rows[second + k]!;
      const x = l[p + k]!;
      const y = l[q + k]!;
      a -= u * x;
      b -= u * y;
      c -= v * x;
      d -= v * y;
    }
    a /= l[p + j]!;
    c /= l[p + j]!;
    rows[first + j] = a;
    rows[second + j] = c;
    rows[first + j + 1] = (b - a * l[q + j]!) / l[q + j + 1]!;
    rows[second + j + 1] = (d - c * l[q + j]!) / l[q + j + 1]!;
  }
  if (j === to) return;
  const p = j * size;
  let a = rows[first + j]!;
  let c = rows[second + j]!;
  for (let k = from; k < j; k++) {
    a -= rows[first + k]! * l[p + k]!;
    c -= rows[second + k]! * l[p + k]!;
  }
  rows[first + j] = a / l[p + j]!;
  rows[second + j] = c / l[p + j]!;
}

/** x with L x = b. */
export function solveLower({ rows, data }: Matrix, b: Float64Array): Float64Array {
  const x = Float64Array.from(b);
  substitute(data, rows, { rows: x, first: 0, second: 0, from: 0, to: rows });
  return x;
}

/** Each row's x with L x = the row: the same for many at once, for half of the time. */
export function solveLowerRows({ rows: size, data }: Matrix, b: Matrix): Matrix {
  const x = new Matrix(b.rows, b.columns, Float64Array.from(b.data));
  for (let i = 0; i < x.rows; i += 2) substitute(data, size, { rows: x.data, first: i * size, second: Math.min(i + 1, x.rows - 1) * size, from: 0, to: size });
  return x;
}

/** x with Lᵀ x = b. */
export function solveLowerTransposed({ rows, data }: Matrix, b: Float64Array): Float64Array {
  const x = Float64Array.from(b);
  for (let i = rows - 1; i >= 0; i--) {
    const row = i * rows;
    const value = x[i]! / data[row + i]!;
    x[i] = value;
    for (let k = 0; k < i; k++) x[k]! -= data[row + k]! * value;
  }
  return x;
}

/** The inverse of A = L Lᵀ, of L. n³/3 multiplications. */
export function inverseOf({ rows: size, data }: Matrix): Matrix {
  const columns = Matrix.identity(size); // row by row the columns of L's inverse, which begin with zeros
  for (let i = 0; i < size; i += 2) substitute(data, size, { rows: columns.data, first: i * size, second: Math.min(i + 1, size - 1) * size, from: i, to: size });
  const inverse = new Matrix(size, size);
  for (let i = 0; i < size; i += 2) {
    for (let j = 0; j <= i; j += 2) multiplyRows(columns.data, size, [i, Math.min(i + 1, size - 1)], [j, Math.min(j + 1, size - 1)], inverse);
  }
  return inverse;
}

/** Two rows' products with two others, from the first column on in which the former are not zero, into a symmetric matrix. */
function multiplyRows(data: Float64Array, size: number, [i, i2]: readonly [number, number], [j, j2]: readonly [number, number], into: Matrix): void {
  const [p, q, r, s] = [i * size, i2 * size, j * size, j2 * size];
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (let k = i; k < size; k++) {
    const u = data[p + k]!;
    const v = data[q + k]!;
    const x = data[r + k]!;
    const y = data[s + k]!;
    a += u * x;
    b += u * y;
    c += v * x;
    d += v * y;
  }
  for (const [row, column, product] of [[i, j, a], [i, j2, b], [i2, j, c], [i2, j2, d]] as const) {
    into.set(row, column, product);
    into.set(column, row, product);
  }
}

const JACOBI_SWEEPS_MAX = 30;

/**
 * The eigenvalues of a symmetric matrix, and its eigenvectors as the columns of a matrix.
 * Source: Golub and Van Loan, Matrix Computations, 8.5 (cyclic Jacobi).
 */
export function symmetricEigen(matrix: Matrix): { readonly values: Float64Array; readonly vectors: Matrix } {
  const size = matrix.rows;
  const a = new Matrix(size, size, Float64Array.from(matrix.data));
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
