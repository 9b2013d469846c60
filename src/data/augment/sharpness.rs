//! Sharpness, as Pillow 13 changes it (`ImageEnhance.py`, `Sharpness`).

use super::colour::blend;

/// Blends a smoothed image (0) and the image (1). The smoothed one has a pixel's own value five times
/// among its neighbours' (`SMOOTH`, Pillow `ImageFilter.py`), and the outermost pixels as they are
/// (`ImagingFilter3x3`, Pillow `src/libImaging/Filter.c`).
///
/// bytes, out: `[H, W, C]`
pub(super) fn sharpness<const C: usize>(factor: f64, bytes: &[u8], width: usize, out: &mut [u8]) {
    out.copy_from_slice(bytes);
    let stride = width * C;
    let height = bytes.len() / stride;
    if width < 3 || height < 3 {
        return;
    }
    pulp::Arch::new().dispatch(Sharpen::<C> {
        factor: factor as f32,
        bytes,
        stride,
        out,
    });
}

struct Sharpen<'a, const C: usize> {
    factor: f32,
    bytes: &'a [u8],
    stride: usize,
    out: &'a mut [u8],
}

impl<const C: usize> pulp::WithSimd for Sharpen<'_, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            factor,
            bytes,
            stride,
            out,
        } = self;
        let mut columns = vec![0_u16; stride];
        let rows = bytes.chunks_exact(stride);
        let below = rows.clone().skip(2);
        let middle = rows.clone().skip(1);
        let lines = out.chunks_exact_mut(stride).skip(1);
        for (line, ((above, row), below)) in lines.zip(rows.zip(middle).zip(below)) {
            for (sum, ((&a, &b), &c)) in columns.iter_mut().zip(above.iter().zip(row).zip(below)) {
                *sum = u16::from(a) + u16::from(b) + u16::from(c);
            }
            let inner = C..stride - C;
            let sides = columns.iter().zip(&columns[2 * C..]);
            let sums = columns[inner.clone()].iter().zip(sides);
            let pixels = row[inner.clone()].iter().zip(&mut line[inner]);
            for ((&byte, out), (&sum, (&left, &right))) in pixels.zip(sums) {
                // Pillow adds in f32; a thirteenth more a half is never so near to a whole number
                // that this could matter.
                let smooth = (left + sum + right + 4 * u16::from(byte) + 6) / 13;
                *out = blend(smooth as u8, byte, factor);
            }
        }
    }
}
