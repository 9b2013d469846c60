//! Matrix products over slices, by the `gemm` crate.
//!
//! An element of a product is a sum over the inner dimension in blocks whose size depends on the
//! shapes and the caches, never on the number of threads, so threads change no bit.

use gemm::Parallelism;

/// A matrix read from a slice.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// All of `data`, row after row: `[data.len() / columns, columns]`.
    pub fn new(data: &'a [f32], columns: usize) -> Self {
        Self::strided(data, [data.len() / columns.max(1), columns], columns)
    }

    /// `[rows, columns]` whose rows begin `row_stride` elements apart, and may overlap.
    pub fn strided(data: &'a [f32], [rows, columns]: [usize; 2], row_stride: usize) -> Self {
        check(data.len(), [rows, columns], row_stride);
        Self {
            data,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    /// Number of rows.
    pub fn rows(self) -> usize {
        self.rows
    }

    /// Its transpose, without moving an element.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix to write: rows `row_stride` elements apart.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// All of `data`, row after row: `[data.len() / columns, columns]`.
    pub fn new(data: &'a mut [f32], columns: usize) -> Self {
        let rows = data.len() / columns.max(1);
        Self::strided(data, [rows, columns], columns)
    }

    /// `[rows, columns]` whose rows begin `row_stride` elements apart.
    pub fn strided(data: &'a mut [f32], [rows, columns]: [usize; 2], row_stride: usize) -> Self {
        assert!(row_stride >= columns, "rows overlap");
        check(data.len(), [rows, columns], row_stride);
        Self {
            data,
            rows,
            columns,
            row_stride,
        }
    }
}

/// Rows do not leave the slice.
fn check(length: usize, [rows, columns]: [usize; 2], row_stride: usize) {
    let end = match rows.checked_sub(1) {
        Some(last) => last
            .checked_mul(row_stride)
            .and_then(|start| start.checked_add(columns)),
        None => Some(0),
    };
    assert!(
        end.is_some_and(|end| end <= length),
        "a matrix of [{rows}, {columns}] rows {row_stride} apart in {length} elements"
    );
}

/// What becomes of the values that stand in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// They are overwritten.
    Replace,
    /// The product is added to them.
    Accumulate,
}

/// Which threads compute a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// The calling one: for products inside a parallel loop.
    One,
    /// All of the current pool.
    All,
}

/// `lhs rhs` in fresh memory, row after row, on all threads.
pub fn multiply(lhs: Matrix<'_>, rhs: Matrix<'_>) -> Vec<f32> {
    let length = lhs.rows * rhs.columns;
    if lhs.columns == 0 {
        return vec![0.0; length];
    }
    let mut product = Vec::with_capacity(length);
    let output = product.spare_capacity_mut().as_mut_ptr().cast();
    // SAFETY: the capacity holds `rows x columns` elements `columns` apart; `Replace` writes every
    // one of them without reading, so that they are initialised when the length is set.
    #[expect(unsafe_code, reason = "the product is not zeroed before it is written")]
    unsafe {
        product_at(
            output,
            rhs.columns,
            lhs,
            rhs,
            1.0,
            Output::Replace,
            Threads::All,
        );
        product.set_len(length);
    }
    product
}

/// `scale lhs rhs` into a matrix.
pub fn multiply_into(
    out: MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    scale: f32,
    output: Output,
    threads: Threads,
) {
    assert_eq!([out.rows, out.columns], [lhs.rows, rhs.columns], "product");
    if lhs.columns == 0 && output == Output::Replace {
        for row in out.data.chunks_mut(out.row_stride.max(1)).take(out.rows) {
            row[..out.columns].fill(0.0);
        }
        return;
    }
    let data = out.data.as_mut_ptr();
    // SAFETY: `MatrixMut::strided` saw that rows of `row_stride` elements do not overlap and end
    // inside the slice, which is borrowed mutably; its elements are initialised.
    #[expect(unsafe_code, reason = "the call of the matrix kernel")]
    unsafe {
        product_at(data, out.row_stride, lhs, rhs, scale, output, threads);
    }
}

/// # Safety
/// `out` must be valid for writes of `lhs.rows` rows of `rhs.columns` elements, `row_stride`
/// apart and not overlapping, and with [`Output::Accumulate`] for reads.
#[expect(unsafe_code, reason = "the call of the matrix kernel")]
unsafe fn product_at(
    out: *mut f32,
    row_stride: usize,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    scale: f32,
    output: Output,
    threads: Threads,
) {
    assert_eq!(lhs.columns, rhs.rows, "inner dimensions");
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(rayon::current_num_threads()),
    };
    // Strides of slices are below `isize::MAX`.
    // SAFETY: `check` saw that every element of both operands lies in its slice; the caller
    // answers for the output.
    unsafe {
        gemm::gemm(
            lhs.rows,
            rhs.columns,
            lhs.columns,
            out,
            1,
            row_stride as isize,
            output == Output::Accumulate,
            lhs.data.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.7).sin()).collect()
    }

    fn plain(lhs: Matrix<'_>, rhs: Matrix<'_>) -> Vec<f64> {
        let at = |m: Matrix<'_>, r, c| f64::from(m.data[r * m.row_stride + c * m.column_stride]);
        let mut out = Vec::new();
        for row in 0..lhs.rows {
            for column in 0..rhs.columns {
                let terms = (0..lhs.columns).map(|i| at(lhs, row, i) * at(rhs, i, column));
                out.push(terms.sum());
            }
        }
        out
    }

    #[track_caller]
    fn assert_near(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(0f64, |m, x| m.max(x.abs()));
        for (a, b) in found.iter().zip(expected) {
            assert!(
                (f64::from(*a) - b).abs() <= 1e-6 * largest.max(1.0),
                "{a} for {b}"
            );
        }
    }

    #[test]
    fn products_of_every_orientation() {
        for (m, k, n) in [
            (1, 1, 1),
            (3, 5, 7),
            (65, 33, 18),
            (130, 70, 97),
            (2, 600, 1),
        ] {
            let (a, b) = (numbers(m * k), numbers(k * n));
            let (rows, columns) = (Matrix::new(&a, k), Matrix::new(&b, n));
            assert_near(&multiply(rows, columns), &plain(rows, columns));
            let (lhs, rhs) = (
                Matrix::new(&a, m).transposed(),
                Matrix::new(&b, k).transposed(),
            );
            assert_near(&multiply(lhs, rhs), &plain(lhs, rhs));
        }
    }

    #[test]
    fn strides_scale_and_accumulation() {
        let (a, b) = (numbers(6 * 10), numbers(4 * 10));
        let lhs = Matrix::strided(&a[2..], [5, 3], 10);
        let rhs = Matrix::strided(&b[1..], [3, 4], 10);
        let product = plain(lhs, rhs);
        let mut out = vec![7f32; 5 * 6];
        for output in [Output::Replace, Output::Accumulate] {
            let into = MatrixMut::strided(&mut out, [5, 4], 6);
            multiply_into(into, lhs, rhs, 0.5, output, Threads::One);
        }
        for (row, products) in out.chunks(6).zip(product.chunks(4)) {
            assert_near(&row[..4], products);
            assert_eq!(row[4..], [7.0, 7.0]);
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (a, b) = (numbers(197 * 768), numbers(768 * 200));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let product = || multiply(Matrix::new(&a, 768), Matrix::new(&b, 200));
            pool.build().unwrap().install(product)
        };
        let one = run(1);
        assert!(run(2) == one && run(3) == one);
    }

    #[test]
    fn nothing_to_sum() {
        let none = Matrix::strided(&[], [2, 0], 0);
        let empty = Matrix::strided(&[], [0, 3], 3);
        assert_eq!(multiply(none, empty), [0.0; 6]);
    }

    #[test]
    fn rows_that_are_read_may_overlap() {
        let (a, b) = (numbers(12), numbers(6 * 2));
        let lhs = Matrix::strided(&a, [4, 6], 2);
        let rhs = Matrix::new(&b, 2);
        assert_near(&multiply(lhs, rhs), &plain(lhs, rhs));
    }

    #[test]
    #[should_panic(expected = "rows overlap")]
    fn rows_that_are_written_may_not() {
        let _ = MatrixMut::strided(&mut [0.0; 12], [4, 6], 2);
    }

    #[test]
    #[should_panic(expected = "in 11 elements")]
    fn a_matrix_beyond_its_slice_is_refused() {
        let _ = Matrix::strided(&[0.0; 11], [3, 4], 4);
    }
}
