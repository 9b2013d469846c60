//! Architectures by the names that timm gives them.

use super::VitConfig;

/// A ViT that timm builds by name (timm 1.0, `timm/models/vision_transformer.py`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    name: &'static str,
    size: Size,
    patch_size: usize,
    /// Height and width of the input, pixels.
    side: usize,
}

/// What the word in the middle of a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Tiny,
    Small,
    Base,
    Large,
    Huge,
}

impl Size {
    /// Width, depth and heads.
    fn dimensions(self) -> (usize, usize, usize) {
        match self {
            Self::Tiny => (192, 12, 3),
            Self::Small => (384, 12, 6),
            Self::Base => (768, 12, 12),
            Self::Large => (1024, 24, 16),
            Self::Huge => (1280, 32, 16),
        }
    }
}

const fn arch(name: &'static str, size: Size, patch_size: usize, side: usize) -> Architecture {
    Architecture {
        name,
        size,
        patch_size,
        side,
    }
}

/// A name that no architecture has.
#[derive(Debug, thiserror::Error)]
#[error("no architecture is called {name}; known are {}", names().join(", "))]
pub struct UnknownArchitecture {
    /// As asked for.
    name: String,
}

impl UnknownArchitecture {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let nearest = names()
            .into_iter()
            .min_by_key(|known| strsim::levenshtein(known, &self.name));
        nearest.map(|name| format!("the nearest name is {name}"))
    }
}

impl Architecture {
    /// Every architecture with a name, smallest first.
    pub const ALL: [Self; 18] = [
        arch("vit_tiny_patch16_224", Size::Tiny, 16, 224),
        arch("vit_tiny_patch16_384", Size::Tiny, 16, 384),
        arch("vit_small_patch32_224", Size::Small, 32, 224),
        arch("vit_small_patch32_384", Size::Small, 32, 384),
        arch("vit_small_patch16_224", Size::Small, 16, 224),
        arch("vit_small_patch16_384", Size::Small, 16, 384),
        arch("vit_small_patch8_224", Size::Small, 8, 224),
        arch("vit_base_patch32_224", Size::Base, 32, 224),
        arch("vit_base_patch32_384", Size::Base, 32, 384),
        arch("vit_base_patch16_224", Size::Base, 16, 224),
        arch("vit_base_patch16_384", Size::Base, 16, 384),
        arch("vit_base_patch8_224", Size::Base, 8, 224),
        arch("vit_large_patch32_224", Size::Large, 32, 224),
        arch("vit_large_patch32_384", Size::Large, 32, 384),
        arch("vit_large_patch16_224", Size::Large, 16, 224),
        arch("vit_large_patch16_384", Size::Large, 16, 384),
        arch("vit_large_patch14_224", Size::Large, 14, 224),
        arch("vit_huge_patch14_224", Size::Huge, 14, 224),
    ];

    /// The architecture of this name.
    pub fn named(name: &str) -> Result<Self, UnknownArchitecture> {
        let mut all = Self::ALL.into_iter();
        all.find(|known| known.name == name)
            .ok_or_else(|| UnknownArchitecture {
                name: name.to_owned(),
            })
    }

    /// timm's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Everything but the weights.
    pub fn config(&self) -> VitConfig {
        let (width, depth, heads) = self.size.dimensions();
        let grid = [self.side / self.patch_size; 2];
        VitConfig::plain(self.patch_size, grid, (width, depth, heads))
    }
}

fn names() -> Vec<&'static str> {
    Architecture::ALL.iter().map(Architecture::name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameters of timm 1.0.31's models with a head of 1000 classes.
    const PARAMETERS: [(&str, usize); 9] = [
        ("vit_tiny_patch16_224", 5_717_416),
        ("vit_tiny_patch16_384", 5_790_376),
        ("vit_small_patch16_224", 22_050_664),
        ("vit_small_patch32_384", 22_915_432),
        ("vit_base_patch8_224", 86_576_872),
        ("vit_base_patch16_224", 86_567_656),
        ("vit_large_patch14_224", 304_203_752),
        ("vit_large_patch32_384", 306_632_680),
        // timm's has no head: 630 764 800 and 1280 x 1000 + 1000.
        ("vit_huge_patch14_224", 632_045_800),
    ];

    fn parameters(config: &VitConfig, classes: usize) -> usize {
        let d = config.width;
        let block = 4 * d + 4 * d * d + 4 * d + 2 * d * config.mlp_width + config.mlp_width + d;
        let patch = config.channels * config.patch_size.pow(2) * d + d;
        let embeddings = patch + d + config.tokens() * d;
        embeddings + config.depth * block + 2 * d + d * classes + classes
    }

    #[test]
    fn sizes_are_timms() {
        for (name, count) in PARAMETERS {
            let config = Architecture::named(name).unwrap().config();
            assert_eq!(parameters(&config, 1000), count, "{name}");
        }
    }

    #[test]
    fn names_say_patch_and_input() {
        for known in Architecture::ALL {
            let config = known.config();
            let [side, _] = config.input_size();
            let end = format!("_patch{}_{side}", config.patch_size);
            assert!(known.name().ends_with(&end), "{known:?}");
            assert_eq!(config.width % config.heads.of(0), 0);
            assert_eq!(Architecture::named(known.name()).unwrap(), known);
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest() {
        for (name, nearest) in [
            ("vit_base_16_224", "vit_base_patch16_224"),
            ("ViT_small_patch8_224", "vit_small_patch8_224"),
            ("vit_hugepatch14", "vit_huge_patch14_224"),
        ] {
            let error = Architecture::named(name).unwrap_err();
            assert!(error.to_string().contains(name));
            assert!(error.to_string().contains("vit_large_patch14_224"));
            assert!(error.hint().unwrap().ends_with(nearest), "{error}");
        }
    }
}
