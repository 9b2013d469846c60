//! Stored numbers as f32.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::Float;

/// Numbers that are converted at a time: they stay in the first-level cache.
const RUN: usize = 1024;

/// Appends the little-endian numbers in `bytes`.
pub(super) fn append(float: Float, bytes: &[u8], data: &mut Vec<f32>) {
    match float {
        Float::F64 => {
            let numbers = bytes.as_chunks().0.iter();
            data.extend(numbers.map(|&number| f64::from_le_bytes(number) as f32));
        }
        Float::F32 => {
            let numbers = bytes.as_chunks().0.iter();
            data.extend(numbers.map(|&number| f32::from_le_bytes(number)));
        }
        Float::F16 => {
            // The conversion of a slice uses the processor's own instruction; it wants aligned
            // numbers, and a file need not align them.
            let mut halves = [f16::ZERO; RUN];
            let mut floats = [0.0; RUN];
            for run in bytes.as_chunks::<2>().0.chunks(RUN) {
                let halves = &mut halves[..run.len()];
                let floats = &mut floats[..run.len()];
                for (half, &bytes) in halves.iter_mut().zip(run) {
                    *half = f16::from_le_bytes(bytes);
                }
                halves.convert_to_f32_slice(floats);
                data.extend_from_slice(floats);
            }
        }
        Float::Bf16 => {
            let numbers = bytes.as_chunks().0.iter();
            data.extend(numbers.map(|&number| bf16::from_le_bytes(number).to_f32()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_converted_as_the_half_crate_says_wherever_it_lies() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let mut bytes = vec![0];
        bytes.extend(bits.iter().flat_map(|bits| bits.to_le_bytes()));
        for (float, expected) in [
            (
                Float::F16,
                (|bits| f16::from_bits(bits).to_f32()) as fn(u16) -> f32,
            ),
            (Float::Bf16, |bits| bf16::from_bits(bits).to_f32()),
        ] {
            let mut found = Vec::new();
            append(float, &bytes[1..], &mut found);
            for (&bits, found) in bits.iter().zip(&found) {
                let expected = expected(bits);
                let same = found.to_bits() == expected.to_bits();
                assert!(same || found.is_nan() && expected.is_nan(), "{bits:#x}");
            }
            assert_eq!(found.len(), bits.len());
        }
    }
}
