//! The textures of the objects.

use super::{stream::Stream, value_noise::ValueNoise};

/// A pattern of two tones. The order is alphabetical, as class folders are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texture {
    /// A chequerboard.
    Checks,
    /// Discs on a square lattice.
    Dots,
    /// Fine smooth noise without a period.
    Noise,
    /// Parallel bars.
    Stripes,
}

impl Texture {
    /// Every texture, in the order of the class names.
    pub const ALL: [Texture; 4] = [
        Texture::Checks,
        Texture::Dots,
        Texture::Noise,
        Texture::Stripes,
    ];

    /// The second half of the class name.
    pub const fn name(self) -> &'static str {
        match self {
            Texture::Checks => "checks",
            Texture::Dots => "dots",
            Texture::Noise => "noise",
            Texture::Stripes => "stripes",
        }
    }

    /// The shortest and the longest period (the cell of the noise), in pixels of a 64-px scene.
    const fn periods(self) -> [f64; 2] {
        match self {
            Texture::Checks => [12.0, 15.0],
            Texture::Dots => [9.0, 12.0],
            Texture::Noise => [1.6, 2.4],
            Texture::Stripes => [8.0, 11.0],
        }
    }
}

/// Squared radius of a dot, in periods: the dots cover pi * 0.11 = 35 % of the plane.
const DOT: f64 = 0.11;

/// Tangent of the largest angle between a pattern and the scene's axes.
const TILT: f64 = 0.4;
/// Largest phase at the object's centre, in periods. With the tilt it decides how much of a texture
/// raw pixels can tell.
const PHASE: f64 = 0.15;

/// A texture with its direction, period and phase chosen.
pub(super) struct Pattern {
    texture: Texture,
    /// Unit vector over the period in pixels.
    axis: [f64; 2],
    phase: [f64; 2],
    noise: ValueNoise,
}

impl Pattern {
    /// `scale`: pixels of this scene over those of a 64-px one.
    pub(super) fn new(stream: &mut Stream, texture: Texture, scale: f64) -> Self {
        let direction = stream.tilt(TILT);
        let [low, high] = texture.periods();
        let period = stream.range(low, high) * scale;
        Self {
            texture,
            axis: direction.map(|v| v / period),
            phase: [stream.range(-PHASE, PHASE), stream.range(-PHASE, PHASE)],
            noise: ValueNoise::new(stream),
        }
    }

    /// The share of the second tone, 0 to 1, at an offset in pixels from the object's centre.
    pub(super) fn at(&self, [x, y]: [f64; 2]) -> f64 {
        let u = x * self.axis[0] + y * self.axis[1] + self.phase[0];
        let v = y * self.axis[0] - x * self.axis[1] + self.phase[1];
        let (s, t) = (u - u.floor(), v - v.floor());
        let second = match self.texture {
            Texture::Checks => (s < 0.5) != (t < 0.5),
            Texture::Dots => (s - 0.5) * (s - 0.5) + (t - 0.5) * (t - 0.5) < DOT,
            Texture::Stripes => s < 0.5,
            // Stretched, since interpolation draws the values towards their mean.
            Texture::Noise => return (1.8 * (self.noise.at([u, v]) - 0.5) + 0.5).clamp(0.0, 1.0),
        };
        f64::from(u8::from(second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each texture's second tone covers the share that its definition gives.
    #[test]
    fn the_second_tone_covers_its_share() {
        for (texture, share, tolerance) in [
            (Texture::Checks, 0.5, 0.01),
            (Texture::Dots, std::f64::consts::PI * DOT, 0.01),
            (Texture::Noise, 0.5, 0.05),
            (Texture::Stripes, 0.5, 0.01),
        ] {
            let pattern = Pattern::new(&mut Stream::new("a test", &[7]), texture, 1.0);
            let sum: f64 = (0..250_000)
                .map(|i| pattern.at([f64::from(i % 500), f64::from(i / 500)]))
                .sum();
            let mean = sum / 250_000.0;
            assert!((mean - share).abs() < tolerance, "{texture:?}: {mean}");
        }
    }
}
