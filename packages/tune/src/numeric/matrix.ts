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

/** The lower L with L Lᵀ = A, of a symmetric A of which the lower half is read; null where A is not positive definite. n³/3 multiplications. */
export function cholesky(matrix: Matrix): Matrix | null {
  const size = matrix.rows;
  const lower = new Matrix(size, size);
  const l = lower.data;
  for (let i = 0; i < size; i++) {
    const rowI = i * size;
    for (let j = 0; j <= i; j++) {
      const rowJ = j * size;
      let sum = matrix.data[rowI + j]!;
      for (let k = 0; k < j; k++) sum -= l[rowI + k]! * l[rowJ + k]!;
      if (i > j) l[rowI + j] = sum / l[rowJ + j]!;
      else if (sum > 0) l[rowI + i] = Math.sqrt(sum);
      else return null;
    }
  }
  return lower;
}

/** x with L x = b. */
export function solveLower({ rows, data }: Matrix, b: Float64Array): Float64Array {
  const x = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    let sum = b[i]!;
    const row = i * rows;
    for (let k = 0; k < i; k++) sum -= data[row + k]! * x[k]!;
    x[i] = sum / data[row + i]!;
  }
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

/** The inverse of A = L Lᵀ, of L. 2n³/3 multiplications. */
export function inverseOf(lower: Matrix): Matrix {
  const size = lower.rows;
  const l = lower.data;
  const inverseLower = new Matrix(size, size); // row by row of the transposed inverse, so that the inner loops run along rows
  const t = inverseLower.data;
  for (let j = 0; j < size; j++) {
    const column = j * size;
    t[column + j] = 1 / l[j * size + j]!;
    for (let i = j + 1; i < size; i++) {
      let sum = 0;
      const row = i * size;
      for (let k = j; k < i; k++) sum -= l[row + k]! * t[column + k]!;
      t[column + i] = sum / l[row + i]!;
    }
  }
  const inverse = new Matrix(size, size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = i; k < size; k++) sum += t[i * size + k]! * t[j * size + k]!;
      inverse.set(i, j, sum);
      inverse.set(j, i, sum);
    }
  }
  return inverse;
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
