//! From bytes to the values that a model takes.

use super::InputSpec;

/// What every byte of every channel becomes.
#[derive(Debug)]
pub(super) struct Normaliser {
    channels: Vec<[f32; 256]>,
}

impl Normaliser {
    /// The order of operations of `ToTensor` (divide by 255) and `Normalize` (subtract, divide),
    /// each rounded to f32.
    pub(super) fn new(spec: &InputSpec) -> Self {
        let channels = spec.mean.iter().zip(&spec.std);
        Self {
            channels: channels
                .map(|(mean, std)| std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std))
                .collect(),
        }
    }

    /// bytes: `[H, W, C]`, out: `[C, H, W]`
    pub(super) fn write(&self, bytes: &[u8], out: &mut [f32]) {
        let channels = self.channels.len();
        let planes = out.chunks_exact_mut(bytes.len() / channels);
        for (channel, (plane, values)) in planes.zip(&self.channels).enumerate() {
            let bytes = bytes[channel..].iter().step_by(channels);
            for (value, &byte) in plane.iter_mut().zip(bytes) {
                *value = values[usize::from(byte)];
            }
        }
    }
}
