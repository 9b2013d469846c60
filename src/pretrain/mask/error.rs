//! What can be wrong with a mask.

/// A mask cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MaskError {
    /// The ratio leaves nothing to see.
    #[error("a mask ratio of {ratio} leaves none of {patches} patches")]
    Ratio {
        /// As given.
        ratio: f64,
        /// Patches of a sample.
        patches: usize,
    },
    /// Another value makes no sense.
    #[error("mask.{field} {reason}")]
    Value {
        /// The field, as written in a recipe.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The noise is not one number a patch.
    #[error("{length} numbers of noise are no whole number of samples of {patches} patches")]
    Length {
        /// Numbers given.
        length: usize,
        /// Patches of a sample.
        patches: usize,
    },
    /// Noise that cannot be sorted.
    #[error("the noise of patch {patch} of sample {sample} is NaN")]
    NotANumber {
        /// Place in the batch.
        sample: usize,
        /// Place in the grid, row-major.
        patch: usize,
    },
    /// A sample that does not name every patch once, or keeps more than there are.
    #[error("the mask of sample {sample} is no order of {patches} patches of which some are seen")]
    Order {
        /// Place in the batch.
        sample: usize,
        /// Patches of a sample.
        patches: usize,
    },
    /// A mask that looks at attention was given none.
    #[error("a mask is drawn by attention, and none is given")]
    NoAttention,
    /// Attention of other patches.
    #[error("{found} numbers of attention where the mask is drawn by {expected}")]
    AttentionLength {
        /// Numbers given.
        found: usize,
        /// Numbers needed.
        expected: usize,
    },
    /// Attention that is no probability.
    #[error("number {place} of the attention that a mask is drawn by is {value}")]
    AttentionValue {
        /// Place in what was given.
        place: usize,
        /// What stands there.
        value: f32,
    },
}

impl MaskError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Ratio { .. } => "the ratio is the share of patches to hide: 0.75 is MAE's",
            Self::Value { field, .. } => match *field {
                "minimum" => "patches of a block: 16 are BEiT's, whose images have 196",
                "maximum" => "leave maximum out, and a block may have as many as are to hide",
                "aspect" => "the least height by width of a block: 0.3 is BEiT's",
                "gamma" => "a positive exponent: 0.5 is Evolved Part Masking's, 1.7 MEDiC's",
                "clusters" => "as in clusters = { first = 10, last = 40 }; small grids need fewer",
                "clustering.zeta" => "the share of attention in the distance: 0.9 is MEDiC's",
                _ => "as in clustering = { kind = \"em\", concentration = 40.0, iterations = 15 }",
            },
            Self::Length { .. } => "one number for each patch of each sample is needed",
            Self::NotANumber { .. } => "noise is drawn from [0, 1)",
            Self::Order { .. } => "every patch of the grid stands once in an order",
            Self::NoAttention | Self::AttentionLength { .. } => {
                "the class token's attention to every patch is needed where mask.kind is attentive, \
                 that of every patch to every patch where it is evolved"
            }
            Self::AttentionValue { .. } => {
                "look at the weights of the network that mask.of names: they give no softmax"
            }
        }
    }
}
