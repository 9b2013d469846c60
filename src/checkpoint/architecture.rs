//! What timm's name of an architecture says where its configuration has no arguments, as on the
//! hub (`timm/models/vision_transformer.py`, `timm/models/eva.py`).

use crate::engine::Activation;

/// What a name says beyond the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Named {
    pub heads: Option<usize>,
    pub activation: Option<Activation>,
    /// Why such a model is not one that is known here.
    pub refused: Option<&'static str>,
}

const HEADS: [(&str, usize); 5] = [
    ("vit_giantopt_", 16),
    ("vit_base_patch16_gap_", 16),
    ("test_vit3", 3),
    ("test_vit4", 3),
    ("test_vit", 2),
];

const GELU_TANH: [&str; 5] = [
    "_patch32_siglip_",
    "vit_large_patch16_siglip_512",
    "vit_large_patch16_siglip_gap_512",
    "vit_so400m_patch16_siglip_",
    "vit_giantopt_",
];

const REFUSED: [(&str, &str); 3] = [
    ("_rpn_", "the norms of its blocks come after what they add"),
    (
        "eva02_enormous",
        "the norms of its blocks come after what they add",
    ),
    (
        "vit_pe_",
        "its rotary positions are counted in a way that is not known here",
    ),
];

/// What a name says.
pub(super) fn named(name: &str) -> Named {
    let has = |part: &&str| name.contains(*part);
    // naver-ai/rope-vit; timm's own ViTs of rotary positions have registers.
    let naver = name.contains("_rope_") && !name.contains("_rope_reg");
    let refused = REFUSED.into_iter().find(|(part, _)| name.contains(part));
    Named {
        heads: HEADS
            .into_iter()
            .find(|(part, _)| name.contains(part))
            .map(|(_, heads)| heads),
        activation: if name.contains("_quickgelu") {
            Some(Activation::QuickGelu)
        } else if GELU_TANH.iter().any(has) {
            Some(Activation::GeluTanh)
        } else {
            None
        },
        refused: match refused {
            Some((_, reason)) => Some(reason),
            None => naver.then_some("its rotary positions are not known here"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_their_configuration_does_not() {
        let activation = |name| named(name).activation;
        for name in [
            "vit_base_patch32_siglip_256",
            "vit_large_patch16_siglip_gap_512",
            "vit_so400m_patch16_siglip_256",
            "vit_giantopt_patch16_siglip_384",
        ] {
            assert_eq!(activation(name), Some(Activation::GeluTanh), "{name}");
        }
        for name in [
            "vit_base_patch16_siglip_224",
            "vit_so400m_patch14_siglip_384",
            "vit_large_patch16_siglip_256",
        ] {
            assert_eq!(activation(name), None, "{name}");
        }
        let quick = activation("vit_base_patch16_clip_quickgelu_224");
        assert_eq!(quick, Some(Activation::QuickGelu));
        assert_eq!(named("vit_giantopt_patch16_siglip_256").heads, Some(16));
        assert_eq!(named("vit_base_patch16_224"), Named::default());
        for name in [
            "vit_base_patch16_rpn_224",
            "eva02_enormous_patch14_clip_224",
            "vit_pe_core_base_patch16_224",
            "vit_small_patch16_rope_224",
            "vit_base_patch16_rope_mixed_ape_224",
        ] {
            assert!(named(name).refused.is_some(), "{name}");
        }
        let own = named("vit_medium_patch16_rope_reg1_gap_256");
        assert_eq!(own, Named::default());
    }
}
