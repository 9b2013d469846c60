//! Which elements of a storage a tensor is made of.

use std::ops::Range;

/// More axes than PyTorch's own kernels take (`c10/core/WrapDimMinimal.h` has no limit,
/// `aten/src/ATen/native/TensorIteratorInternal.h` has 64).
pub(super) const MAX_RANK: usize = 64;

/// A tensor's elements inside a storage.
#[derive(Debug)]
pub(super) struct View {
    /// First to last element, in elements of the storage.
    pub(super) span: Range<usize>,
    /// Elements from one to the next along each axis, where rows do not simply follow each other.
    pub(super) strides: Option<Box<[usize]>>,
}

/// Elements of a tensor, where their number can be told.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    // An axis without elements must not hide that the others overflow.
    let product = shape
        .iter()
        .try_fold(1usize, |product, &n| product.checked_mul(n.max(1)))
        .filter(|&product| isize::try_from(product).is_ok())?;
    Some(if shape.contains(&0) { 0 } else { product })
}

impl View {
    /// Checks that the elements lie inside a storage of `stored` elements.
    pub(super) fn new(
        shape: &[usize],
        strides: &[usize],
        offset: usize,
        stored: usize,
    ) -> Result<Self, &'static str> {
        if shape.len() != strides.len() {
            return Err("its shape and its strides have different lengths");
        }
        let count = elements(shape).ok_or("its shape overflows")?;
        if count == 0 {
            return Ok(Self {
                span: 0..0,
                strides: None,
            });
        }
        let outside = "it reaches outside its storage";
        let mut last = offset;
        let mut row_major = true;
        let mut below = 1;
        for (&n, &stride) in shape.iter().zip(strides).rev() {
            let step = (n - 1).checked_mul(stride).ok_or(outside)?;
            last = last.checked_add(step).ok_or(outside)?;
            row_major &= n == 1 || stride == below;
            below *= n;
        }
        if last >= stored {
            return Err(outside);
        }
        Ok(Self {
            span: offset..last + 1,
            strides: (!row_major).then(|| strides.into()),
        })
    }
}

/// The elements of `size` bytes in row-major order; `bytes` are those of the span.
pub(super) fn gather(bytes: &[u8], size: usize, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    let mut gathered = Vec::with_capacity(shape.iter().product::<usize>() * size);
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    loop {
        gathered.extend_from_slice(&bytes[at * size..][..size]);
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return gathered;
            }
            axis -= 1;
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_stays_inside_its_storage() {
        let view = |shape: &[usize], strides: &[usize], offset, stored| {
            View::new(shape, strides, offset, stored).map(|view| (view.span, view.strides))
        };
        assert_eq!(view(&[2, 3], &[3, 1], 1, 7), Ok((1..7, None)));
        assert_eq!(view(&[], &[], 6, 7), Ok((6..7, None)));
        assert_eq!(view(&[1, 3], &[99, 1], 0, 3), Ok((0..3, None)));
        assert_eq!(view(&[0, 3], &[3, 1], 9, 7), Ok((0..0, None)));
        let transposed = Some([1, 3].into());
        assert_eq!(view(&[3, 2], &[1, 3], 0, 6), Ok((0..6, transposed)));
        let outside = Err("it reaches outside its storage");
        assert_eq!(view(&[2, 3], &[3, 1], 2, 7), outside);
        assert_eq!(view(&[], &[], 7, 7), outside);
        assert_eq!(view(&[2], &[usize::MAX], 1, 7), outside);
        assert_eq!(view(&[3], &[usize::MAX], 1, 7), outside);
        assert_eq!(view(&[2], &[1], usize::MAX, 7), outside);
        let overflows = Err("its shape overflows");
        assert_eq!(view(&[1 << 62, 1 << 62], &[0, 0], 0, 1), overflows);
        assert_eq!(view(&[1 << 62, 0, 1 << 62], &[0, 0, 0], 0, 1), overflows);
        assert!(view(&[2], &[1, 1], 0, 7).is_err());
    }

    #[test]
    fn elements_are_gathered_by_stride() {
        let bytes: Vec<u8> = (0..24).collect();
        let columns = gather(&bytes, 2, &[3, 2], &[1, 6]);
        assert_eq!(columns, [0, 1, 12, 13, 2, 3, 14, 15, 4, 5, 16, 17]);
        assert_eq!(gather(&bytes, 1, &[2, 2], &[0, 1]), [0, 1, 0, 1]);
        assert_eq!(gather(&bytes, 4, &[], &[]), [0, 1, 2, 3]);
    }
}
