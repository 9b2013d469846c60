//! Which part of the learning rate and of the weight decay a parameter gets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::group::Group;

/// Where code with layer-wise decay puts the parameters outside the blocks, and which ones it does
/// not decay. Block `j` of `L` is layer `j + 1` of all; a layer `i` learns at
/// `decay^(L + 1 - i)` of the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerDecayRule {
    /// Class token, positions and patches are layer 0, everything else is with the head; what has
    /// one axis, positions, class and distillation token are not decayed (facebookresearch/mae
    /// `util/lr_decay.py`).
    Mae,
    /// As [`LayerDecayRule::Mae`] with the mask token in layer 0 and the distillation token decayed
    /// (microsoft/unilm `beit/optim_factory.py`).
    Beit,
    /// As [`LayerDecayRule::Beit`], but positions and class token are decayed: the list that spares
    /// them has their names without the `backbone.` that they bear there (microsoft/unilm
    /// `beit/semantic_segmentation/mmcv_custom/layer_decay_optimizer_constructor.py`).
    Mmseg,
    /// All is with the head and decayed: PyTorch's optimizers on all parameters.
    Uniform,
}

/// What is not decayed where all layers learn at one rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecayExclusion {
    /// Nothing: PyTorch's optimizers on all parameters.
    Nothing,
    /// What has at most one axis, biases and norms (timm `timm/optim/_param_groups.py`,
    /// `param_groups_weight_decay`).
    Vectors,
    /// The same, the class token and positions (microsoft/unilm `beit/optim_factory.py` with the list
    /// of `beit/modeling_pretrain.py`).
    Beit,
    /// [`DecayExclusion::Vectors`] and the matrix of an alignment (OpenDriveLab/maskalign
    /// `main_pretrain.py`, `skip_list`).
    MaskAlign,
}

impl LayerDecayRule {
    /// The layer of a parameter, from 0 to `depth + 1`.
    pub fn layer(self, name: &str, depth: usize) -> usize {
        let first = match self {
            Self::Mae => matches!(name, "cls_token" | "pos_embed"),
            Self::Beit | Self::Mmseg => matches!(name, "cls_token" | "pos_embed" | "mask_token"),
            Self::Uniform => return depth + 1,
        };
        if first || name.starts_with("patch_embed") {
            return 0;
        }
        let block = name.strip_prefix("blocks.").and_then(|rest| {
            let (block, _) = rest.split_once('.')?;
            block.parse::<usize>().ok()
        });
        block.map_or(depth + 1, |block| block + 1)
    }

    fn decays(self, name: &str, shape: &[usize]) -> bool {
        let spared = match self {
            Self::Mae => matches!(name, "cls_token" | "pos_embed" | "dist_token"),
            Self::Beit => matches!(name, "cls_token" | "pos_embed") || name.ends_with(".bias"),
            Self::Mmseg => name.ends_with(".bias"),
            Self::Uniform => return true,
        };
        !spared && shape.len() > 1
    }
}

/// Groups of layer-wise decay over canonical names and shapes, from the first layer on.
///
/// `depth` is the number of blocks.
pub fn layer_groups(
    rule: LayerDecayRule,
    decay: f64,
    depth: usize,
    parameters: &[(&str, &[usize])],
) -> Vec<Group> {
    let mut members: BTreeMap<(usize, bool), Vec<usize>> = BTreeMap::new();
    for (place, (name, shape)) in parameters.iter().enumerate() {
        let spared = !rule.decays(name, shape);
        let key = (rule.layer(name, depth), spared);
        members.entry(key).or_default().push(place);
    }
    let group = |((layer, spared), members)| Group {
        name: format!("layer {layer}, {}", decay_name(spared)),
        peak_scale: 1.0,
        learning_rate_scale: decay.powf((depth + 1) as f64 - layer as f64),
        weight_decay_scale: f64::from(u8::from(!spared)),
        members,
    };
    members.into_iter().map(group).collect()
}

/// Groups that all learn at the whole rate.
pub fn plain_groups(exclusion: DecayExclusion, parameters: &[(&str, &[usize])]) -> Vec<Group> {
    let spared = |place: usize| match exclusion {
        DecayExclusion::Nothing => false,
        DecayExclusion::Vectors => parameters[place].1.len() <= 1,
        DecayExclusion::Beit => {
            let (name, shape) = parameters[place];
            shape.len() <= 1 || matches!(name, "cls_token" | "pos_embed")
        }
        DecayExclusion::MaskAlign => {
            let (name, shape) = parameters[place];
            shape.len() <= 1 || (name.starts_with("terms.") && name.ends_with(".matrix"))
        }
    };
    let (without, with): (Vec<_>, Vec<_>) = (0..parameters.len()).partition(|&i| spared(i));
    let group = |(spared, members)| Group {
        name: decay_name(spared).to_owned(),
        peak_scale: 1.0,
        learning_rate_scale: 1.0,
        weight_decay_scale: f64::from(u8::from(!spared)),
        members,
    };
    [(false, with), (true, without)]
        .into_iter()
        .filter(|(_, members)| !members.is_empty())
        .map(group)
        .collect()
}

fn decay_name(spared: bool) -> &'static str {
    if spared { "no decay" } else { "decay" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: [(&str, &[usize]); 9] = [
        ("head.weight", &[7, 4]),
        ("cls_token", &[1, 1, 4]),
        ("pos_embed", &[1, 5, 4]),
        ("patch_embed.proj.weight", &[4, 12]),
        ("blocks.0.attn.qkv.bias", &[12]),
        ("blocks.1.mlp.fc1.weight", &[16, 4]),
        ("blocks.1.ls1.gamma", &[4]),
        ("rel_pos_bias.relative_position_bias_table", &[9, 2]),
        ("norm.bias", &[4]),
    ];

    fn found(rule: LayerDecayRule) -> Vec<(String, f64, f64, Vec<usize>)> {
        layer_groups(rule, 0.5, 2, &PARAMETERS)
            .into_iter()
            .map(|group| {
                let scales = (group.learning_rate_scale, group.weight_decay_scale);
                (group.name, scales.0, scales.1, group.members)
            })
            .collect()
    }

    #[test]
    fn groups_come_from_the_first_layer_on() {
        let expected = [
            ("layer 0, decay", 0.125, 1.0, vec![3]),
            ("layer 0, no decay", 0.125, 0.0, vec![1, 2]),
            ("layer 1, no decay", 0.25, 0.0, vec![4]),
            ("layer 2, decay", 0.5, 1.0, vec![5]),
            ("layer 2, no decay", 0.5, 0.0, vec![6]),
            ("layer 3, decay", 1.0, 1.0, vec![0, 7]),
            ("layer 3, no decay", 1.0, 0.0, vec![8]),
        ]
        .map(|(name, rate, decay, members)| (name.to_owned(), rate, decay, members));
        assert_eq!(found(LayerDecayRule::Mae), expected);
        assert_eq!(found(LayerDecayRule::Beit), expected);
        // Positions and class token are decayed.
        let mmseg = found(LayerDecayRule::Mmseg);
        assert_eq!(mmseg[0].3, [1, 2, 3]);
        assert_eq!(mmseg[1..], expected[2..]);
        let all = (0..PARAMETERS.len()).collect();
        let uniform = ("layer 3, decay".to_owned(), 1.0, 1.0, all);
        assert_eq!(found(LayerDecayRule::Uniform), [uniform]);
    }

    #[test]
    fn edge_parameters_follow_their_code() {
        use LayerDecayRule::{Beit, Mae, Mmseg};
        for (rule, mask, dist_decays) in [(Mae, 13, false), (Beit, 0, true), (Mmseg, 0, true)] {
            assert_eq!(rule.layer("mask_token", 12), mask);
            assert_eq!(rule.layer("dist_token", 12), 13);
            assert_eq!(rule.decays("dist_token", &[1, 1, 4]), dist_decays);
            assert!(rule.decays("mask_token", &[1, 1, 4]));
        }
    }

    #[test]
    fn plain_groups_spare_vectors_where_asked() {
        let names = |exclusion| -> Vec<(String, Vec<usize>)> {
            plain_groups(exclusion, &PARAMETERS)
                .into_iter()
                .map(|group| (group.name, group.members))
                .collect()
        };
        let all = (0..PARAMETERS.len()).collect();
        assert_eq!(names(DecayExclusion::Nothing), [("decay".to_owned(), all)]);
        let expected = [
            ("decay".to_owned(), vec![0, 1, 2, 3, 5, 7]),
            ("no decay".to_owned(), vec![4, 6, 8]),
        ];
        assert_eq!(names(DecayExclusion::Vectors), expected);
        let aligned: [(&str, &[usize]); 3] = [
            ("terms.alignment.matrix", &[5, 12]),
            ("terms.alignment.adaptors.0.weight", &[4, 4]),
            ("cls_token", &[1, 1, 4]),
        ];
        let groups = plain_groups(DecayExclusion::MaskAlign, &aligned);
        let members: Vec<_> = groups.into_iter().map(|group| group.members).collect();
        assert_eq!(members, [vec![1, 2], vec![0]]);
    }
}
